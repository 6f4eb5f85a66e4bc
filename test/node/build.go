// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build puts halfclose and the plugins that the shipped conflist chains it with into dir, for tests, as "make build
// cni-plugins" lays them out: the command, and in cni the plugins and the link by which ours starts the reaper. top
// is the repository. Of the other plugins it takes what "make cni-plugins" has built, and builds the rest.
func Build(top, dir string) error {
	cni := filepath.Join(dir, "cni")
	err := errors.Join(
		os.Mkdir(cni, 0o755),
		build(top, filepath.Join(dir, "halfclose"), "./cmd/halfclose"),
		build(top, filepath.Join(cni, "halfclose"), "./plugins/halfclose"),
		os.Symlink("../halfclose", filepath.Join(cni, "halfclose-reaper")),
	)
	if err != nil {
		return err
	}
	const plugins = "github.com/containernetworking/plugins/plugins/"
	for _, plugin := range []string{"main/bridge", "ipam/host-local", "meta/tuning"} {
		to := filepath.Join(cni, filepath.Base(plugin))
		made, err := filepath.Abs(filepath.Join(top, "bin/cni", filepath.Base(plugin)))
		if err != nil {
			return err
		}
		if _, err := os.Stat(made); err == nil {
			err = os.Symlink(made, to)
			if err != nil {
				return err
			}
			continue
		}
		if err := build(filepath.Join(top, "tools/cni"), to, plugins+plugin); err != nil {
			return err
		}
	}
	return nil
}

// build builds one program, in the module at dir.
func build(dir, to, pkg string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", to, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
