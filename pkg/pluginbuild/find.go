// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

// Find returns the plugin that was built or packaged with the command at an absolute path: cni/halfclose in the same
// directory, or ../lib/halfclose/cni/halfclose. It must answer VERSION and be of the same build.
func Find(ctx context.Context, command string, own buildinfo.Build) (string, error) {
	dir := filepath.Dir(command)
	places := []string{filepath.Join(dir, "cni", spec.PluginType), filepath.Join(filepath.Dir(dir), "lib/halfclose/cni", spec.PluginType)}
	for _, path := range places {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", fmt.Errorf("find the plugin: %w", err)
		}
		mismatch, err := Check(ctx, path, own)
		if err == nil && mismatch != "" {
			err = fmt.Errorf("%s: install both of one build, or name it with --plugin to install it as it is", mismatch)
		}
		return path, err
	}
	return "", fmt.Errorf("find the plugin: neither %s exists: name it with --plugin", strings.Join(places, " nor "))
}

// Check returns an error if the program at path does not answer VERSION as CNI plugins do. If its build differs from
// the one given, mismatch describes both.
func Check(ctx context.Context, path string, own buildinfo.Build) (mismatch string, err error) {
	info, err := Ask(ctx, path)
	switch build := info.Build(); {
	case err != nil:
		return "", fmt.Errorf("ask %s for its CNI versions: %w", path, err)
	case build == buildinfo.Build{}:
		return fmt.Sprintf("%s does not report its build, and this command is %s", path, own), nil
	case build != own:
		return fmt.Sprintf("%s is %s, and this command is %s", path, build, own), nil
	}
	return "", nil
}
