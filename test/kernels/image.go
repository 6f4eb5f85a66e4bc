// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"

	"github.com/halfclose/halfclose/test/kernels/plan"
)

// file is a file of the machine: a copy of a file here, a link, or text.
type file struct {
	path string // on the machine
	from string // a file here
	link string // its target
	text []byte
}

// hostPrograms lists the programs of this machine that the tests start.
func hostPrograms() []string {
	return []string{"bash", "cat", "env", "install", "ip", "sleep", "tail", "true", "unshare"}
}

// hostFiles lists the programs with the libraries that they load.
func hostFiles() ([]file, error) {
	files := []file{
		{path: "bin", link: "usr/bin"},
		{path: "sbin", link: "usr/sbin"},
		{path: "lib", link: "usr/lib"},
		{path: "lib64", link: "usr/lib64"},
		{path: "usr/bin/sh", link: "bash"},
	}
	library := regexp.MustCompile(`(?m)(/\S+) \(0x`)
	for _, name := range hostPrograms() {
		found, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%w: install the package with %s", err, name)
		}
		files = append(files, file{path: "usr/bin/" + name, from: found})
		out, err := exec.Command("ldd", found).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("list the libraries of %s: %w: %s", found, err, out)
		}
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			to := strings.TrimPrefix(m[1], "/")
			if !strings.HasPrefix(to, "usr/") {
				to = "usr/" + to // as on a system with merged /usr
			}
			files = append(files, file{path: to, from: m[1]})
		}
	}
	return files, nil
}

// treeFiles lists the files below a directory of the repository, for the same path on the machine.
func treeFiles(top, dir string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(filepath.Join(top, dir), func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(top, p)
		files = append(files, file{path: path.Join(sourceDir, filepath.ToSlash(rel)), from: p})
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return files, err
}

// writeImage writes an initramfs with the files, the kernel's modules and the plan of the steps.
func writeImage(to string, k kernel, files []file, steps []step) error {
	var p plan.Plan
	for _, s := range steps {
		p.Steps = append(p.Steps, s.Step)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	modules, err := filepath.Glob(filepath.Join(k.dir, "modules", "*.ko"))
	if err != nil {
		return err
	}
	files = append(slices.Clone(files), file{path: plan.Path, text: text})
	for _, m := range modules {
		files = append(files, file{path: path.Join(plan.Modules, filepath.Base(m)), from: m})
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	w := imageWriter{archive: cpio.NewWriter(out), written: make(map[string]bool)}
	for _, f := range files {
		if err = w.write(f); err != nil {
			err = fmt.Errorf("write %s of the initramfs: %w", f.path, err)
			break
		}
	}
	return errors.Join(err, w.archive.Close(), out.Close())
}

// imageWriter writes files with their parents to an archive.
type imageWriter struct {
	archive *cpio.Writer
	written map[string]bool
}

func (w imageWriter) write(f file) error {
	f.path = strings.TrimPrefix(path.Clean(f.path), "/")
	if w.written[f.path] {
		return nil
	}
	if err := w.makeParents(f.path); err != nil {
		return err
	}
	w.written[f.path] = true
	if f.link != "" {
		f.text = []byte(f.link)
		return w.put(f, cpio.TypeSymlink|0o777)
	}
	if f.from == "" {
		return w.put(f, cpio.TypeReg|0o644)
	}
	source, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	err = w.archive.WriteHeader(&cpio.Header{Name: f.path, Mode: cpio.TypeReg | cpio.FileMode(info.Mode().Perm()), Size: info.Size(), Links: 1})
	if err == nil {
		_, err = io.Copy(w.archive, source)
	}
	return err
}

func (w imageWriter) makeParents(p string) error {
	parent := path.Dir(p)
	if parent == "." || w.written[parent] {
		return nil
	}
	if err := w.makeParents(parent); err != nil {
		return err
	}
	w.written[parent] = true
	return w.put(file{path: parent}, cpio.TypeDir|0o755)
}

func (w imageWriter) put(f file, mode cpio.FileMode) error {
	err := w.archive.WriteHeader(&cpio.Header{Name: f.path, Mode: mode, Size: int64(len(f.text)), Links: 1})
	if err == nil && len(f.text) > 0 {
		_, err = w.archive.Write(f.text)
	}
	return err
}
