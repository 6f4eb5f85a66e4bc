// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/deploy/seccomp"
	"github.com/halfclose/halfclose/internal/cmdline"
)

// seccompDir is the directory of the profiles below the kubelet's, and the first part of their names as localhostProfile.
const seccompDir = "halfclose"

func seccompCommand(e *env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "seccomp [installer|reaper]",
		Short: "Print or write the seccomp profiles of the containers",
		Long: `Print a seccomp profile, or write both to a directory in which the kubelet
looks for them: as halfclose/reaper.json for the reaper and the commands in its
container, and halfclose/installer.json for "halfclose install". They allow the
system calls that the tests of halfclose need, and no others.`,
		Example: `  halfclose seccomp reaper
  halfclose seccomp --write /var/lib/kubelet/seccomp`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: seccomp.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case (dir == "") == (len(args) == 0):
				return cmdline.AsUsage(errors.New("want one of installer and reaper, or --write"))
			case dir != "":
				return writeProfiles(dir)
			}
			data, err := seccomp.File(args[0])
			if err == nil {
				_, err = e.Out.Write(data)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "write", "", "write the profiles to the kubelet's `directory` of seccomp profiles")
	return cmd
}

// writeProfiles writes the profiles below a directory, for root to change and all to read, as the runtime may.
func writeProfiles(dir string) error {
	dir = filepath.Join(dir, seccompDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range seccomp.Names() {
		data, err := seccomp.File(name)
		if err == nil {
			err = replaceFile(filepath.Join(dir, name+".json"), data)
		}
		if err != nil {
			return fmt.Errorf("write the seccomp profile %s: %w", name, err)
		}
	}
	return nil
}

// replaceFile replaces a file at once: a runtime that starts a container reads the old content or the new one.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
