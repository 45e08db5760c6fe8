// The version of diorite, written once: CMake reads the three numbers from here.
//
// Use them to ask for features at compile time. While the major number is 0, a new minor number may
// change the interface; the format of journals on disk has version numbers of its own (FORMAT.md).
// Thread: constants, any thread.

#pragma once

#define DIORITE_VERSION_MAJOR 0
#define DIORITE_VERSION_MINOR 1
#define DIORITE_VERSION_PATCH 0
