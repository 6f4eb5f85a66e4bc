// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/internal/cmdline"
)

func TestACommandCalledAsAPluginReportsItsWrongPlace(t *testing.T) {
	t.Setenv("CNI_COMMAND", "VERSION")
	var stdout, stderr bytes.Buffer
	code := Main(nil, &stdout, &stderr)
	var e types.Error
	if err := json.Unmarshal(stdout.Bytes(), &e); err != nil || code != cmdline.Failure || e.Code == 0 || !strings.Contains(e.Details, "halfclose install") {
		t.Errorf("exit code %d, stdout %q", code, stdout.String())
	}
	stdout.Reset()
	t.Setenv("CNI_COMMAND", "DEL")
	if code := Main(nil, &stdout, &stderr); code != cmdline.Success || stdout.Len() > 0 || !strings.Contains(stderr.String(), "not the CNI plugin") {
		t.Errorf("DEL: exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
	if code := Main([]string{"version"}, &stdout, &stderr); code != cmdline.Success || !strings.Contains(stdout.String(), "halfclose") {
		t.Errorf("with a command of its own: exit code %d, %s", code, stdout.String())
	}
}
