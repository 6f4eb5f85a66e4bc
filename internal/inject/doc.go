// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package inject starts a program so that chosen system calls of it fail, transfer fewer bytes, are late, never return, or
// kill the process. Tests use it.
//
// The program runs with a seccomp filter that notifies this process of each chosen call (seccomp_unotify(2)). This process
// decides by the arguments, among them paths and descriptors, which it reads from the memory and the descriptor table of
// the program. A call without a fault continues in the kernel. Faults begin and end while the program runs. They apply to
// its children too. docs/decisions/2026-11-30-fault-injection.md explains the choice.
//
// main, or TestMain, calls [Main] first, and exits if that returns an error: [Start] executes this program again, and Main installs the filter there before it
// executes the other program.
package inject
