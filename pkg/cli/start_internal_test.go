// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheAdviceToStartAReaperNamesWhatRunsIt(t *testing.T) {
	units, none := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(units, "halfclose.service"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inPod := map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
	for _, tt := range []struct {
		name     string
		err      error
		stateDir string
		env      map[string]string
		units    string
		want     string
	}{
		{"a service", admin.ErrNotRunning, state.DefaultDir, nil, units, `"systemctl start halfclose"`},
		{"a pod", admin.ErrNotRunning, state.DefaultDir, inPod, none, `"kubectl logs -c reaper -p"`},
		{"neither", admin.ErrNotRunning, state.DefaultDir, nil, none, `start one with "halfclose reaper"`},
		{"another state directory than the service's", admin.ErrNotRunning, "/srv/h", nil, units, `start one with "halfclose reaper --state-dir /srv/h"`},
		{"another error", errors.New("refused"), state.DefaultDir, nil, units, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := showing(nil, tt.env)
			e.stateDir = tt.stateDir
			if got := e.asStart(tt.err, []string{none, tt.units}); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
