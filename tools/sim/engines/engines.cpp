#include "engines/engines.hpp"

#include <memory>

#include "engines/file_engine.hpp"
#include "engines/journal_engine.hpp"
#include "engines/lru_engine.hpp"

namespace diorite::sim {

bool find_engine(std::string_view name, EngineFactory& factory) noexcept {
  if (name == "journal") {
    factory = factory_of<JournalEngine>();
  } else if (name == "small-journal") {
    factory = {[](void*, Choices& choices) -> std::unique_ptr<Engine> {
                 return std::make_unique<JournalEngine>(choices, JournalEngine::Size::small);
               },
               nullptr};
  } else if (name == "file") {
    factory = factory_of<FileEngine>();
  } else if (name == "lru") {
    factory = factory_of<LruEngine>();
  } else {
    return false;
  }
  return true;
}

std::string_view engine_names() noexcept { return "journal, small-journal, file, lru"; }

}  // namespace diorite::sim
