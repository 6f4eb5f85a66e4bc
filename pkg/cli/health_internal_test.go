// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
)

func TestHealthFailsWithoutAHealthyReaper(t *testing.T) {
	dir := nstest.ShortDir(t)
	code, _, stderr := call(t, nil, "health", "--state-dir", dir)
	if code != cmdline.Failure || !strings.Contains(stderr, "no reaper is running") {
		t.Errorf("without a reaper: exit code %d, %s", code, stderr)
	}

	stop := serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error": "the records have not been read yet"}`))
	})
	code, _, stderr = call(t, nil, "health", "--state-dir", dir)
	if code != cmdline.Failure || !strings.Contains(stderr, "the records have not been read yet") {
		t.Errorf("while the reaper starts: exit code %d, %s", code, stderr)
	}
	stop()
}

func TestHealthSucceedsWithAHealthyReaper(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	runReaper(t, dir)
	nstest.Eventually(t, patience, "the records have been read", func() bool {
		code, _, _ := call(t, nil, "health", "--state-dir", dir)
		return code == cmdline.Success
	})
	for format, want := range map[string]string{"table": "ok\n", "json": "{\n  \"status\": \"ok\"\n}\n"} {
		if code, stdout, stderr := call(t, nil, "health", "--state-dir", dir, "-o", format); code != cmdline.Success || stdout != want {
			t.Errorf("-o %s: exit code %d, %q, %s", format, code, stdout, stderr)
		}
	}
}
