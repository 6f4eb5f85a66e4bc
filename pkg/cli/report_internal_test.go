// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
)

// unpackReport returns the files of a report, by their names below its directory.
func unpackReport(t *testing.T, data []byte) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for full, text := range outputtest.Unpack(t, bytes.NewReader(data)) {
		_, name, ok := strings.Cut(full, "/")
		if !ok || path.Clean(full) != full {
			t.Errorf("the archive has the file %q", full)
		}
		files[name] = text
	}
	return files
}

// confDirWith returns a directory of CNI configurations, one with a secret and one that is damaged.
func confDirWith(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "calico", "token": "HUSH", "mtu": 1440}, {"type": "halfclose", "grace": "10.1.2.3"}]}`,
		"20-bad.conflist":  `{"token": "HUSH`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAReportHasEverythingOfARunningReaperAndNoSecret(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	runReaper(t, dir)
	records := filepath.Join(dir, "attachments")
	if err := errors.Join(os.MkdirAll(records, 0o700), os.WriteFile(filepath.Join(records, "damaged@eth0.json"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "r.tar.gz")
	args := []string{"report", "--redact-addresses", "--output-file", to, "--cni-conf-dir", confDirWith(t), "--state-dir", dir}
	code, stdout, stderr := call(t, nil, args...)
	if code != cmdline.Success || !strings.HasPrefix(stdout, "wrote "+to+"\n") {
		t.Fatalf("exit code %d, stderr %q\n%s", code, stderr, stdout)
	}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "halfclose: collecting ") { // on a slow machine
			t.Errorf("stderr has %q", line)
		}
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the archive has mode %v: %v", info.Mode(), err)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	files := unpackReport(t, data)
	for _, name := range []string{"version", "mode", "config", "status", "sockets", "history", "doctor"} {
		if !json.Valid([]byte(files[name+".json"])) {
			t.Errorf("%s.json is %.200q", name, files[name+".json"])
		}
	}
	for name, want := range map[string]string{
		"metrics.txt": "halfclose_build_info", "system.txt": "tcp_fin_timeout: ", "records/damaged@eth0.json": "{",
		"cni/10-pods.conflist": `"mtu": 1440`, "README.txt": "cni/10-pods.conflist: the values of plugins[0].token",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q:\n%.2000s", name, want, files[name])
		}
		if !strings.Contains(stdout, name) && name != "README.txt" {
			t.Errorf("the command does not print %s:\n%s", name, stdout)
		}
	}
	if !strings.Contains(stdout, "lacks  cni/20-bad.conflist: parse JSON") {
		t.Errorf("the damaged configuration is not named:\n%s", stdout)
	}
	for name, text := range files {
		if strings.Contains(text, "HUSH") || strings.Contains(text, "10.1.2.3") {
			t.Errorf("%s has a secret or an address", name)
		}
	}
	if code, _, stderr := call(t, nil, args...); code != cmdline.Failure || !strings.Contains(stderr, "file exists") {
		t.Errorf("over an existing file: exit code %d, stderr %q", code, stderr)
	}
}

func TestAReportWithoutAReaperHasTheRestAndSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	if code, _, stderr := call(t, nil, "mode", "observe", "--pod", "shop/web", "--state-dir", dir); code != cmdline.Success {
		t.Fatal(stderr)
	}
	code, stdout, stderr := call(t, nil, "report", "--output-file", "-", "--cni-conf-dir", "/nowhere", "--state-dir", dir)
	if code != cmdline.Success {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	files := unpackReport(t, []byte(stdout))
	for name, want := range map[string]string{"mode.json": `"pod": "web"`, "switch.json": `"pod": "web"`, "doctor.json": "findings", "system.txt": "kernel: "} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q: %.500s", name, want, files[name])
		}
	}
	for _, want := range []string{"status.json: ", "sockets.json: ", "metrics.txt: no reaper is running", "config.json: ", "cni: open /nowhere"} {
		if !strings.Contains(files["README.txt"], want) || !strings.Contains(stderr, want) {
			t.Errorf("%q is not said:\n%s", want, files["README.txt"])
		}
	}
}

func TestAReportInADirectoryThatCannotBeWrittenNamesTheFlag(t *testing.T) {
	code, _, stderr := call(t, nil, "report", "--output-file", "/proc/no/r.tar.gz", "--state-dir", nstest.ShortDir(t))
	if code != cmdline.Failure || !strings.Contains(stderr, "name another with --output-file") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}
