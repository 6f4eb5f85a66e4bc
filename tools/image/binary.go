// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// executable is a program and the platform it runs on.
type executable struct {
	path     string
	program  []byte
	platform v1.Platform
}

// architectures maps the machine of an ELF file to the image specification's name (Go's).
var architectures = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
}

// readBinary reads a program and its platform. It refuses a program that needs a dynamic loader, because the image has
// none.
func readBinary(path string) (executable, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return executable{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return executable{}, fmt.Errorf("%s is not a program for Linux: %w", path, err)
	}
	arch, ok := architectures[f.Machine]
	if !ok {
		return executable{}, fmt.Errorf("%s is for %v, which no image is made for", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return executable{}, fmt.Errorf("%s is not static, and the image has no dynamic loader: build it with CGO_ENABLED=0", path)
		}
	}
	return executable{path, program, v1.Platform{OS: "linux", Architecture: arch}}, nil
}

// readBinaries reads programs, each for another platform, in the order of their paths.
func readBinaries(paths []string) ([]executable, error) {
	var all []executable
	for _, path := range paths {
		bin, err := readBinary(path)
		if err != nil {
			return nil, err
		}
		if other, twice := forPlatform(all, bin.platform); twice {
			return nil, fmt.Errorf("%s and %s are both for %s", other.path, path, bin.platform)
		}
		all = append(all, bin)
	}
	return all, nil
}

// forPlatform returns the program for a platform.
func forPlatform(all []executable, platform v1.Platform) (executable, bool) {
	i := slices.IndexFunc(all, func(e executable) bool { return e.platform.Equals(platform) })
	if i < 0 {
		return executable{}, false
	}
	return all[i], true
}
