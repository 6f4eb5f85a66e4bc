// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

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
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

// FindPlugin returns the plugin that was built or packaged with the command at an absolute path: cni/halfclose beside
// it, or ../lib/halfclose/cni/halfclose. It must answer VERSION and be of the build given.
func FindPlugin(ctx context.Context, command string, own buildinfo.Build) (string, error) {
	dir := filepath.Dir(command)
	places := []string{filepath.Join(dir, "cni", spec.PluginType), filepath.Join(filepath.Dir(dir), "lib/halfclose/cni", spec.PluginType)}
	for _, path := range places {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", fmt.Errorf("find the plugin: %w", err)
		}
		other, err := CheckPlugin(ctx, path, own)
		if err == nil && other != "" {
			err = fmt.Errorf("%s: install both of one build, or name it with --plugin to install it as it is", other)
		}
		return path, err
	}
	return "", fmt.Errorf("find the plugin: neither %s is there: name it with --plugin", strings.Join(places, " nor "))
}

// CheckPlugin returns an error if the program at path does not answer VERSION as CNI plugins do, and otherwise how its
// build differs from the one given, "" if it does not.
func CheckPlugin(ctx context.Context, path string, own buildinfo.Build) (other string, err error) {
	info, err := pluginbuild.Ask(ctx, path)
	switch is := info.Build(); {
	case err != nil:
		return "", fmt.Errorf("ask %s for its CNI versions: %w", path, err)
	case is == buildinfo.Build{}:
		return fmt.Sprintf("%s does not say which build it is, and this command is %s", path, own), nil
	case is != own:
		return fmt.Sprintf("%s is %s, and this command is %s", path, is, own), nil
	}
	return "", nil
}
