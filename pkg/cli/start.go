// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/state"
)

// systemdDirs are the directories of unit files, in systemd's order (systemd.unit(5)).
func systemdDirs() []string {
	return []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
}

// asStart returns advice for an error because no reaper is running: a second one beside a stopped service would only
// confuse.
func (e *env) asStart(err error, unitDirs []string) string {
	if !errors.Is(err, admin.ErrNotRunning) {
		return ""
	}
	if e.stateDir != state.DefaultDir {
		return "; start one with \"" + e.startCommand() + "\", or set HALFCLOSE_STATE_DIR to a running reaper's state directory"
	}
	for _, dir := range unitDirs {
		if _, err := os.Stat(filepath.Join(dir, "halfclose.service")); err == nil {
			return "; start it with \"systemctl start halfclose\", or see why it stopped with \"systemctl status halfclose\""
		}
	}
	if e.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return "; the container \"reaper\" of this pod does not run: \"kubectl describe pod\" and \"kubectl logs -c reaper -p\" show why"
	}
	return "; start one with \"" + e.startCommand() + "\", or set HALFCLOSE_STATE_DIR to a running reaper's state directory"
}

// startCommand returns the command that starts a reaper with this state directory.
func (e *env) startCommand() string {
	if e.stateDir == state.DefaultDir {
		return "halfclose reaper"
	}
	return "halfclose reaper --state-dir " + safetext.Escape(e.stateDir)
}
