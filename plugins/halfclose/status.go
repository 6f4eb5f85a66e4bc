// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
)

// status says whether ADD can be expected to work (CNI spec, "STATUS"). An error makes the whole node not
// ready, so there is one only where ADD would fail for every pod: the failure policy is fail, and nothing
// can be recorded. A wrong configuration alone is for ADD to judge.
func (p *plugin) status(args *skel.CmdArgs) error {
	if _, err := p.read(args); err != nil {
		return err
	}
	network, _ := policy.ParseNetwork(args.StdinData)
	if network.FailurePolicy != policy.Fail {
		return nil
	}
	if err := usable(p.store.AttachmentsDir()); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "the state directory cannot be used, and failurePolicy is fail", err.Error())
	}
	return nil
}

// usable returns why files cannot be made in a directory, or the directory itself where it is not there yet.
// It changes nothing.
func usable(dir string) error {
	info, err := os.Stat(dir)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		return usable(parent)
	}
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write in %s: %w", dir, err)
	}
	return nil
}
