// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// BinDir is the directory of a node's copy of [Program].Bin: the command, confine if that was built, and in cni the plugins. It
// and its parents belong to root alone, as auto-start requires; the clone of the repository may belong to another user.
const BinDir = "/run/bin"

// copyBin copies the programs in dir to BinDir. dir is open because its path may be hidden by now.
func copyBin(dir *os.File) error {
	from := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	err := errors.Join(os.Mkdir(BinDir, 0o755), os.Mkdir(BinDir+"/cni", 0o755), copyProgram(from+"/halfclose", BinDir+"/halfclose"))
	if err != nil {
		return err
	}
	if err := copyProgram(from+"/confine", BinDir+"/confine"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(from + "/cni")
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, "cni", e.Name()), filepath.Join(BinDir, "cni", e.Name())
		if link, err := os.Readlink(source); err == nil && !filepath.IsAbs(link) { // to the command
			err = os.Symlink(link, target)
			if err != nil {
				return err
			}
			continue
		}
		if err := copyProgram(source, target); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
