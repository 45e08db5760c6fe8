#include "powercut/failing_real.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "powercut/image.hpp"
#include "powercut/plan.hpp"
#include "powercut/recorder.hpp"
#include "powercut/state_disk.hpp"
#include "powercut/system.hpp"
#include "powercut/trace.hpp"

namespace diorite::powercut {
namespace {

constexpr std::size_t kTraceBytes = std::size_t{1} << 30;
constexpr Millis kUnmountLimit = std::chrono::seconds(30);
constexpr const char* kInnerImage = "inner.img";
constexpr const char* kInnerFolder = "inner";
constexpr std::uint64_t kInnerBytes = std::uint64_t{32} << 20;

std::unique_ptr<Driver> make_pool() {
  DriverOptions options;
  options.choice = DriverChoice::pool;
  options.pool_inline = true;
  Result<std::unique_ptr<Driver>> driver = make_driver(options);
  if (!driver) throw Trouble(driver.error().text());
  return std::move(*driver);
}

void mount_or_throw(const std::string& device, const std::string& where, const char* type,
                    const char* options) {
  const int mounted = mount_at(device, where, type, options);
  if (mounted == ENODEV) throw Missing(std::string("the kernel has no ") + type);
  if (mounted == EPERM) throw Missing("this process may not mount a block device");
  if (mounted != 0) throw Trouble(std::string("mount: ") + std::strerror(mounted));
}

class RealComputer final : public Computer {
 public:
  RealComputer(const RealDisk& disk, const Workspace& workspace)
      : disk_(disk), workspace_(workspace), trace_(kTraceBytes), driver_(make_pool()) {
    void* const shared = ::mmap(nullptr, sizeof(DiskFaults), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) throw_errno("mmap of the faults");
    faults_ = new (shared) DiskFaults;
    recorder_ = start_recorder({workspace.recorder, disk.fs.disk_bytes, 1, faults_}, trace_);
    const std::string image = workspace.recorder + '/' + kDiskName;
    Fd backing(::open(image.c_str(), O_RDWR | O_CLOEXEC));
    if (!backing) throw_errno(image);
    LoopDevice device = attach_loop(backing.get(), true);
    make_file_system(disk.fs, device.path);
    mount_or_throw(device.path, workspace.disk, disk.fs.name, disk.fs.options);
    device_ = device.path;
    if (disk.stacked) make_inner();
  }
  RealComputer(const RealComputer&) = delete;
  ~RealComputer() override {
    heal();
    if (recorder_ > 0) take_down();
    ::munmap(static_cast<void*>(faults_), sizeof(DiskFaults));
  }

  Driver& driver() override { return *driver_; }
  std::string path(std::string_view name) const override {
    return root() + '/' + std::string(name);
  }

  void fail(std::uint32_t kinds) override { faults_->kinds = kinds; }
  void heal() override { faults_->kinds = 0; }

  void cut_power(Look& look) override;

 private:
  std::string root() const {
    return disk_.stacked ? workspace_.disk + '/' + kInnerFolder : workspace_.disk;
  }

  // Every byte of the image has its place on the outer disk, so that writing to it later is not a
  // matter of the outer file system's log.
  void make_inner() {
    const std::string image = workspace_.disk + '/' + kInnerImage;
    const Fd file(::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file) throw_errno(image);
    const std::string zeros(1 << 20, '\0');
    for (std::uint64_t at = 0; at < kInnerBytes; at += zeros.size()) {
      if (::pwrite(file.get(), zeros.data(), zeros.size(), static_cast<off_t>(at)) < 0) {
        throw_errno(image);
      }
    }
    if (::fsync(file.get()) != 0) throw_errno("fsync of the inner image");
    const LoopDevice device = attach_loop(file.get(), false);
    make_file_system(disk_.fs, device.path);
    ::mkdir(root().c_str(), 0700);
    mount_or_throw(device.path, root(), disk_.fs.name, disk_.fs.options);
    ::sync();
  }

  // Whatever the file systems are in, they let themselves be unmounted.
  void unmount_all() {
    if (disk_.stacked) unmount_one(root());
    unmount_one(workspace_.disk);
    forget_device(disk_.fs, device_);
  }

  static void unmount_one(const std::string& where) {
    const int unmounted = unmount(where, kUnmountLimit);
    if (unmounted != 0) throw Trouble(where + ": umount: " + std::strerror(unmounted));
  }

  void take_down() noexcept {
    driver_.reset();
    if (disk_.stacked) unmount_lazily(root());
    unmount_lazily(workspace_.disk);
    unmount_lazily(workspace_.recorder);
    int status = 0;
    wait_for(recorder_, kUnmountLimit, &status);
    recorder_ = -1;
  }

  void look_at(StateDisk& state, Look& look, const char* name);

  const RealDisk& disk_;
  const Workspace& workspace_;
  Trace trace_;
  DiskFaults* faults_ = nullptr;
  pid_t recorder_ = -1;
  std::string device_;
  std::unique_ptr<Driver> driver_;
};

// Of what no flush has covered, all is there, or nothing.
void RealComputer::cut_power(Look& look) {
  const std::string marks = workspace_.recorder + '/' + kMarksName;
  Fd mark(::open(marks.c_str(), O_WRONLY | O_CLOEXEC));
  if (!mark || ::pwrite(mark.get(), "cut", 3, 0) != 3) throw_errno("the mark of the cut");
  mark.reset();
  unmount_all();
  unmount_one(workspace_.recorder);
  int status = 0;
  if (!wait_for(std::exchange(recorder_, -1), kUnmountLimit, &status) || status != 0) {
    throw Trouble("the recorder ended with wait status " + std::to_string(status));
  }
  if (trace_.incomplete()) throw Trouble("the trace has no room for this");
  const std::vector<Event> events = trace_.events();
  std::size_t cut = 0;
  while (cut < events.size() && events[cut].kind != EventKind::mark) ++cut;

  Image durable(disk_.fs.disk_bytes);
  Walk walk(events);
  std::vector<std::size_t> landed;
  walk.advance(cut, landed);
  for (const std::size_t i : landed)
    durable.write(events[i].offset, events[i].data, events[i].bytes);
  StateDisk state(disk_.fs.disk_bytes);
  for (const bool all : {false, true}) {
    std::vector<Piece> pieces;
    for (const std::size_t i : walk.pending()) {
      if (all) pieces.push_back({i, 0, events[i].bytes});
    }
    state.set(durable, events, pieces);
    look_at(state, look, all ? "all" : "none");
  }
}

void RealComputer::look_at(StateDisk& state, Look& look, const char* name) {
  LoopDevice device = attach_loop(state.fd(), false);
  mount_or_throw(device.path, workspace_.disk, disk_.fs.name, disk_.fs.state_options);
  device_ = device.path;
  if (disk_.stacked) {
    const std::string image = workspace_.disk + '/' + kInnerImage;
    const Fd file(::open(image.c_str(), O_RDWR | O_CLOEXEC));
    if (!file) throw_errno(image);
    const LoopDevice inner = attach_loop(file.get(), false);
    mount_or_throw(inner.path, root(), disk_.fs.name, disk_.fs.state_options);
  }
  look.see(*this, name);
  unmount_all();
}

}  // namespace

std::unique_ptr<Computer> make_real_computer(const RealDisk& disk, const Workspace& workspace) {
  return std::make_unique<RealComputer>(disk, workspace);
}

}  // namespace diorite::powercut
