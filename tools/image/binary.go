// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// executable is a program and what it runs on.
type executable struct {
	program  []byte
	platform v1.Platform
}

// architectures are the image specification's names (Go's) of what an ELF file is made for.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
}

// readBinary reads a program, which tells its platform itself. One that needs a dynamic loader is refused: the
// image has none.
func readBinary(path string) (executable, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return executable{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return executable{}, fmt.Errorf("%s is no program for Linux: %w", path, err)
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
	return executable{program, v1.Platform{OS: "linux", Architecture: arch}}, nil
}
