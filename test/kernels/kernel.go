// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errUnavailable means that Debian's mirror has no kernel of a series.
var errUnavailable = errors.New("not available")

// unavailableStatus is the exit status of scripts/artefact.sh for it.
const unavailableStatus = 3

// kernel is a kernel to boot.
type kernel struct {
	series   string // as 6.1
	release  string // as uname -r prints it
	packaged string // the name and version of Debian's package
	dir      string // of scripts/artefact.sh kernel-SERIES
}

// fetch returns a kernel of a series. The first call downloads it.
func fetch(ctx context.Context, series string) (kernel, error) {
	k := kernel{series: series}
	cmd := exec.CommandContext(ctx, "scripts/artefact.sh", "kernel-"+series)
	var why strings.Builder
	cmd.Stderr = &why
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == unavailableStatus {
		lines := strings.Split(strings.TrimSpace(why.String()), "\n")
		return k, fmt.Errorf("%w: %s", errUnavailable, lines[len(lines)-1])
	}
	if err != nil {
		return k, fmt.Errorf("download kernel %s: %w\n%s", series, err, why.String())
	}
	k.dir = strings.TrimSpace(string(out))
	for name, to := range map[string]*string{"release": &k.release, "package": &k.packaged} {
		text, err := os.ReadFile(filepath.Join(k.dir, name))
		if err != nil {
			return k, err
		}
		*to = strings.TrimSpace(string(text))
	}
	return k, nil
}

// test runs the steps on the kernel. Console and output stay in dir.
func (k kernel) test(ctx context.Context, cpus int, dir string, files []file, steps []step) (result, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return result{}, err
	}
	image := filepath.Join(dir, "initramfs")
	if err := writeImage(image, k, files, steps); err != nil {
		return result{}, err
	}
	defer os.Remove(image) // it is large, and each run writes it
	m := machine{cpus: cpus, kernel: filepath.Join(k.dir, "vmlinuz"), image: image, console: filepath.Join(dir, "console")}
	events, fault, err := m.run(ctx, filepath.Join(dir, "events"))
	if err != nil {
		return result{}, err
	}
	return judge(k, steps, events, fault)
}
