// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/printer"
)

const podsConflist = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge"
    }
  ]
}
`

// cniNode creates the directories of a node with one network below a root.
func cniNode(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, data := range map[string]string{"opt/cni/bin/bridge": "", "etc/cni/net.d/10-pods.conflist": podsConflist} {
		putFile(t, filepath.Join(root, name), data)
	}
	for name, data := range files {
		putFile(t, filepath.Join(root, name), data)
	}
	return root
}

// putFile writes a file with an old modification time.
func putFile(t *testing.T, path, data string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(data), 0o644)
	}
	if err == nil {
		old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		err = os.Chtimes(path, old, old)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func getFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// fakePlugin creates a plugin that reports a build, and returns its path.
func fakePlugin(t *testing.T, info buildinfo.Info) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	putFile(t, path, `#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0"]}' && exit
echo "`+info.PluginLine()+`" >&2
exit 2
`)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInstallAndUninstallPrintTheirResults(t *testing.T) {
	t.Parallel()
	root := cniNode(t, map[string]string{"etc/cni/net.d/00-broken.conf": `{"type":`})
	const (
		reaper, plugin = "Reaper    /opt/cni/bin/halfclose-reaper: ", "Plugin    /opt/cni/bin/halfclose: "
		file           = "/etc/cni/net.d/10-pods.conflist"
		network        = "Network   pods in " + file + ": "
		broken         = "00-broken.conf cannot be loaded"
		add            = "+    {\"type\":\"halfclose\",\"mode\":\"observe\",\"capabilities\":{\"io.kubernetes.cri.pod-annotations\":true}}\n"
	)
	for _, tt := range []struct {
		args   []string
		want   []string // the lines before a diff
		diff   []string // parts of the diff
		stderr string
	}{
		{[]string{"install", "--dry-run"}, []string{reaper + "would be written", plugin + "would be written", network + "would be written"}, []string{"+++ " + file, add}, broken},
		{[]string{"install"}, []string{reaper + "written", plugin + "written", network + "written"}, []string{"+++ " + file, add}, broken},
		{
			[]string{"install", "--drop-in"},
			[]string{reaper + "unchanged", plugin + "unchanged", "Network   pods in /etc/cni/net.d/pods/halfclose.conf: written"},
			[]string{"+++ /etc/cni/net.d/pods/halfclose.conf", add[:1] + strings.TrimSpace(add[1:])},
			"stays until the reaper prunes it",
		},
		{
			[]string{"install", "--dry-run"},
			[]string{reaper + "unchanged", plugin + "unchanged", network + "would be written"},
			[]string{"--- /etc/cni/net.d/pods/halfclose.conf\n+++ /dev/null\n", "+++ " + file, add},
			broken,
		},
		{[]string{"install"}, []string{reaper + "unchanged", plugin + "unchanged", network + "written"}, []string{"+++ " + file, add}, broken},
		{[]string{"install"}, []string{reaper + "unchanged", plugin + "unchanged", network + "unchanged"}, nil, broken},
		{
			[]string{"uninstall", "--remove-binary", "--dry-run"},
			[]string{network + "entry would be removed", plugin + "would be removed", reaper + "would be removed"},
			[]string{"+++ " + file, "-" + add[1:]},
			"",
		},
		{[]string{"uninstall"}, []string{network + "entry removed", plugin + "kept for the pods that were created with it"}, []string{"+++ " + file, "-" + add[1:]}, ""},
		{[]string{"uninstall"}, []string{"Network   none in /etc/cni/net.d lists halfclose: nothing to do"}, nil, ""},
		{
			[]string{"uninstall", "--remove-binary"},
			[]string{"Network   none in /etc/cni/net.d lists halfclose: nothing to do", plugin + "removed", reaper + "removed"},
			nil, "",
		},
	} {
		args := tt.args
		if args[0] == "install" {
			args = append(slices.Clone(args), "--mode", "observe")
		}
		code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_HOST_ROOT": root}, args...)
		if code != 0 || !strings.Contains(stderr, tt.stderr) || (stderr == "") != (tt.stderr == "") {
			t.Errorf("%v: exit code %d: %q, want %q", args, code, stderr, tt.stderr)
		}
		results, diff, _ := strings.Cut(stdout, "\n\n")
		if got, want := strings.TrimSuffix(results, "\n"), strings.Join(tt.want, "\n"); got != want || (diff == "") != (tt.diff == nil) {
			t.Errorf("%v: it prints\n%s\nwant\n%s", args, stdout, want)
		}
		for _, want := range tt.diff {
			if !strings.Contains(diff, want) {
				t.Errorf("%v: %q is not in the diff\n%s", args, want, diff)
			}
		}
	}
	if got := getFile(t, filepath.Join(root, "etc/cni/net.d/10-pods.conflist")); got != podsConflist {
		t.Errorf("it has changed:\n%s", got)
	}
}

func TestInstallPrintsADiff(t *testing.T) {
	t.Parallel()
	_, stdout, _ := call(t, map[string]string{"HALFCLOSE_HOST_ROOT": cniNode(t, nil)}, "install", "--mode", "observe", "--dry-run")
	golden.Text(t, "install-dry-run", stdout)
}

func TestInstallAndUninstallPrintJSON(t *testing.T) {
	t.Parallel()
	set := map[string]string{"HALFCLOSE_HOST_ROOT": cniNode(t, map[string]string{"etc/cni/net.d/00-broken.conf": `{"type":`})}
	diffOf := func(args ...string) string {
		_, stdout, _ := call(t, set, args...)
		_, diff, _ := strings.Cut(stdout, "\n\n")
		return diff
	}
	if code, _, stderr := call(t, set, "install", "--mode", "observe"); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, _ := call(t, set, "install", "--mode", "destroy", "--dry-run", "-o", "json")
	var result struct{ Warnings []string }
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || len(result.Warnings) != 1 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, stdout)
	}
	apitest.CheckJSON(t, stdout, map[string]any{
		"network": "pods", "file": "/etc/cni/net.d/10-pods.conflist", "changed": true, "plugin.path": "/opt/cni/bin/halfclose", "plugin.changed": false,
		"reaper.path": "/opt/cni/bin/halfclose-reaper", "reaper.changed": false, "warnings.0": result.Warnings[0], "diff": diffOf("install", "--mode", "destroy", "--dry-run"),
	})
	programs := map[string]any{
		"plugin.path": "/opt/cni/bin/halfclose", "plugin.changed": false, "reaper.path": "/opt/cni/bin/halfclose-reaper", "reaper.changed": false,
	}
	want := maps.Clone(programs)
	want["files.0.file"], want["files.0.network"], want["diff"] = "/etc/cni/net.d/10-pods.conflist", "pods", diffOf("uninstall", "--dry-run")
	_, stdout, _ = call(t, set, "uninstall", "--dry-run", "-o", "json")
	apitest.CheckJSON(t, stdout, want)
	if code, _, stderr := call(t, set, "uninstall"); code != 0 {
		t.Fatal(stderr)
	}
	want = maps.Clone(programs)
	want["files"] = []any{}
	_, stdout, _ = call(t, set, "uninstall", "-o", "json")
	apitest.CheckJSON(t, stdout, want)
}

func TestInstallCreatesTheEntryOfItsFlags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "entry.json")
	putFile(t, file, `{"mode": "off", "_why": "a test", "capabilities": {}}`)
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"all": {
			[]string{
				"--reaper", "external", "--failure-policy", "fail", "--pod-overrides", "none", "--exempt", `[{"localPorts": "22"}]`,
				"--rules", `[{"match": {"role": "client"}, "grace": "1m"}]`, "--probe-count", "3", "--probe-interval", "5s", "--probe-after", "30s",
				"--pending-grace", "3h", "--clock", "state", "--fin-wait2-grace", "never", "--close-wait-grace", "2m", "--grace", "5m", "--mode", "observe",
			},
			`{"type":"halfclose","mode":"observe","probeAfter":"30s","probeCount":3,"probeInterval":"5s","grace":"5m","closeWaitGrace":"2m","finWait2Grace":"never",` +
				`"pendingGrace":"3h","clock":"state","exempt":[{"localPorts":"22"}],"rules":[{"match":{"role":"client"},"grace":"1m"}],"podOverrides":"none","failurePolicy":"fail","reaper":"external","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`,
		},
		"none":   {nil, `{"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`},
		"a file": {[]string{"--config", file}, `{"type":"halfclose","mode":"off","_why":"a test","capabilities":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			root := cniNode(t, nil)
			if code, _, stderr := call(t, nil, append([]string{"install", "--host-root", root}, tt.args...)...); code != 0 || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			var list struct{ Plugins []json.RawMessage }
			if err := json.Unmarshal([]byte(getFile(t, filepath.Join(root, "etc/cni/net.d/10-pods.conflist"))), &list); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Compact(&got, list.Plugins[len(list.Plugins)-1]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("entry (-want +got)\n%s", diff)
			}
		})
	}
}

func TestInstallRefusals(t *testing.T) {
	t.Parallel()
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	putFile(t, wrong, `{"mode": "obsrve", "graze": "1m"}`)
	none := filepath.Join(t.TempDir(), "none.json")
	for name, tt := range map[string]struct {
		files   map[string]string
		args    []string
		code    int
		wantErr []string
	}{
		"every mistake, with its flag": {
			args: []string{"install", "--mode", "obsrve", "--reaper", "none", "--exempt", `[{"loopback": 1}]`}, code: 2,
			wantErr: []string{`--mode: unknown mode "obsrve", did you mean "observe"?`, `--reaper: unknown reaper "none"`, `--exempt, at $[0].loopback: want true`},
		},
		"every mistake of a file, with its path": {
			args: []string{"install", "--config", wrong}, code: 2,
			wantErr: []string{"--config " + wrong + `: $.mode: unknown mode "obsrve"`, `$.graze: unknown key, did you mean "grace"?`},
		},
		"every mistake in a rule": {
			args: []string{"install", "--probe-count", "many", "--rules", `[{"match": {"roll": "client"}}, {"match": {"role": "peer"}, "grace": "1d"}]`}, code: 2,
			wantErr: []string{
				`--probe-count: want a number of probes such as 6, got a string`, `--rules, at $[0].match.roll: unknown key, did you mean "role"?`,
				`--rules, at $[1].match.role: unknown role "peer": want "client" or "server"`, `--rules, at $[1].grace: "1d": Go durations have no days: write "24h"`,
			},
		},
		"rules that are no JSON":             {args: []string{"install", "--rules", "role=server"}, code: 2, wantErr: []string{`--rules: not JSON: '[{"match": `}},
		"exemptions that are no JSON":        {args: []string{"install", "--exempt", "22"}, code: 2, wantErr: []string{"--exempt: want a list"}},
		"a missing file":                     {args: []string{"install", "--config", none}, code: 1, wantErr: []string{"read --config: open " + none}},
		"a file and a flag":                  {args: []string{"install", "--config", wrong, "--mode", "off"}, code: 2, wantErr: []string{"--config and --mode exclude each other"}},
		"a watch and a dry run":              {args: []string{"install", "--watch", "--dry-run"}, code: 2, wantErr: []string{"leave out one of them"}},
		"a watch with a limit":               {args: []string{"install", "--watch", "--wait", "1s"}, code: 2, wantErr: []string{"leave out --wait"}},
		"a negative wait":                    {args: []string{"install", "--wait", "-1s"}, code: 2, wantErr: []string{"--wait: want a duration of at least 0s, not -1s"}},
		"an unknown log format":              {args: []string{"install", "--watch", "--log-format", "xml"}, code: 2, wantErr: []string{`--log-format: want text or json, not "xml"`}},
		"a relative directory":               {args: []string{"install", "--cni-conf-dir", "net.d"}, code: 2, wantErr: []string{"--cni-conf-dir: want an absolute path"}},
		"a relative directory of uninstall":  {args: []string{"uninstall", "--cni-bin-dir", "bin"}, code: 2, wantErr: []string{"--cni-bin-dir: want an absolute path"}},
		"a missing host root":                {args: []string{"uninstall", "--host-root", none}, code: 1, wantErr: []string{none, "no such file"}},
		"a missing plugin":                   {args: []string{"install", "--plugin", none}, code: 1, wantErr: []string{"ask " + none + " for its CNI versions", "no such file"}},
		"a program that is no plugin":        {args: []string{"install", "--plugin", "/bin/true"}, code: 1, wantErr: []string{"it is no CNI plugin"}},
		"no network yet":                     {args: []string{"install", "--cni-conf-dir", "/none"}, code: 1, wantErr: []string{"there is no network configuration yet: there is no directory /none", "with --wait 5m"}},
		"plugins in another directory":       {files: map[string]string{"etc/cni/net.d/05-x.conflist": strings.Replace(podsConflist, "bridge", "calico", 1)}, args: []string{"install"}, code: 1, wantErr: []string{"/opt/cni/bin/calico, the first plugin of 05-x.conflist, does not exist", "--cni-bin-dir"}},
		"a version that it does not support": {files: map[string]string{"etc/cni/net.d/05-x.conflist": strings.Replace(podsConflist, "1.0.0", "0.2.0", 1)}, args: []string{"install"}, code: 1, wantErr: []string{`05-x.conflist has cniVersion "0.2.0"`}},
	} {
		t.Run(name, func(t *testing.T) {
			root := cniNode(t, tt.files)
			code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_HOST_ROOT": root}, tt.args...)
			if code != tt.code || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d; stdout %q; stderr %q", code, tt.code, stdout, stderr)
			}
			for _, want := range tt.wantErr {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr %q, want %q in it", stderr, want)
				}
			}
			if got := getFile(t, filepath.Join(root, "etc/cni/net.d/10-pods.conflist")); got != podsConflist {
				t.Errorf("it was changed:\n%s", got)
			}
		})
	}
}

func TestAPluginDirectoryOnTheCommandLineIsTrusted(t *testing.T) {
	root := cniNode(t, map[string]string{"usr/local/libexec/cni/other": ""})
	code, _, stderr := call(t, nil, "install", "--host-root", root, "--cni-bin-dir", "/usr/local/libexec/cni")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestInstallPrintsTheTargetOfTheReapersProgram(t *testing.T) {
	root := cniNode(t, nil)
	bin := filepath.Join(root, "opt/cni/bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bin, 0o777); err != nil {
		t.Fatal(err)
	}
	other := buildinfo.Info{Version: "v0.0.1", Commit: "abc"}
	code, stdout, stderr := call(t, nil, "install", "--plugin", fakePlugin(t, other),
		"--cni-bin-dir", bin, "--cni-conf-dir", filepath.Join(root, "etc/cni/net.d"))
	if want := "Reaper    " + bin + "/halfclose-reaper -> " + self + ": written"; code != 0 || !strings.Contains(stdout, want) {
		t.Errorf("exit code %d: %q, want %q in it", code, stdout, want)
	}
	for _, want := range []string{
		"v0.0.1 (commit abc), and this command is " + buildinfo.Get().Build().String(), // installed, since the flag names it
		"ADD will not start the reaper: directory /",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr %q, want %q in it", stderr, want)
		}
	}
	if to, err := os.Readlink(filepath.Join(bin, "halfclose-reaper")); err != nil || to != self {
		t.Errorf("its target is %q, %v", to, err)
	}
}

func TestInstallNeedsThePluginOfItsOwnBuild(t *testing.T) {
	root := cniNode(t, nil)
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"install", "--host-root", root}, &env{Printer: printer.Printer{Out: &stderr, Getenv: func(string) string { return "" }}, err: &stderr})
	if code != 1 || !strings.Contains(stderr.String(), "cni/halfclose nor ") || !strings.Contains(stderr.String(), "name it with --plugin") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestInstallWatchLogsItsEvents(t *testing.T) {
	t.Parallel()
	root := cniNode(t, nil)
	path := filepath.Join(root, "etc/cni/net.d/10-pods.conflist")
	plugin := fakePlugin(t, buildinfo.Get())
	var out, log outputtest.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"install", "--watch", "--host-root", root, "--log-format", "json", "--plugin", plugin}, &env{
			Printer: printer.Printer{Out: &out, Getenv: func(string) string { return "" }}, err: &log,
		})
	}()
	logs := func(text string) {
		t.Helper()
		nstest.Eventually(t, 20*time.Second, "the log has "+text, func() bool { return strings.Contains(log.String(), text) })
	}
	logs(`"msg":"installed; watching the entry","network":"pods","file":"/etc/cni/net.d/10-pods.conflist"`)
	if !strings.Contains(out.String(), "Network   pods in /etc/cni/net.d/10-pods.conflist: written") {
		t.Errorf("stdout %q", out.String())
	}
	putFile(t, path+".new", podsConflist)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	logs("restored the missing entry")
	if err := os.Remove(filepath.Join(root, "opt/cni/bin/halfclose")); err != nil {
		t.Fatal(err)
	}
	logs(`"msg":"restored a missing program","path":"/opt/cni/bin/halfclose"`)
	if err := os.Remove(filepath.Join(root, "opt/cni/bin/halfclose-reaper")); err != nil {
		t.Fatal(err)
	}
	logs(`"msg":"restored a missing program","path":"/opt/cni/bin/halfclose-reaper"`)

	// uninstall reports that another process restores the entry.
	code, _, stderr := call(t, nil, "uninstall", "--host-root", root)
	if code != 1 || !strings.Contains(stderr, "10-pods.conflist has the entry again: stop the process that restores it") {
		t.Errorf("uninstall: exit code %d: %s", code, stderr)
	}

	before := getFile(t, path)
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d: %s", code, log.String())
	}
	if got := getFile(t, path); got != before || !strings.Contains(got, "halfclose") {
		t.Errorf("it changed the network on exit to\n%s", got)
	}
}

// A cached configuration as CRI-O 1.37 has it: the runtime would run DEL from it.
const cachedPod = `{"kind":"cniCacheV1","containerId":"0123456789ab","config":"eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoicG9kcyIsInBsdWdpbnMiOlt7InR5cGUiOiJicmlkZ2UifSx7InR5cGUiOiJoYWxmY2xvc2UifV19",` +
	`"ifName":"eth0","networkName":"pods","cniArgs":[["K8S_POD_NAMESPACE","shop"],["K8S_POD_NAME","web-0"]],"result":{}}`

func TestUninstallKeepsAPluginThatARuntimeWouldCall(t *testing.T) {
	t.Parallel()
	root := cniNode(t, map[string]string{
		"var/lib/cni/results/pods-0123456789ab-eth0": cachedPod,
		"opt/cni/bin/halfclose":                      "the plugin",
	})
	plugin := filepath.Join(root, "opt/cni/bin/halfclose")
	code, _, stderr := call(t, nil, "uninstall", "--host-root", root, "--remove-binary")
	if _, err := os.Stat(plugin); code != 1 || !strings.Contains(stderr, "shop/web-0") || !strings.Contains(stderr, "--force") || err != nil {
		t.Errorf("exit code %d: %s, %v", code, stderr, err)
	}
	if code, _, stderr := call(t, nil, "uninstall", "--host-root", root, "--force"); code != 2 || !strings.Contains(stderr, "--force needs --remove-binary") {
		t.Errorf("--force alone: exit code %d: %s", code, stderr)
	}
	code, _, stderr = call(t, nil, "uninstall", "--host-root", root, "--remove-binary", "--force")
	if _, err := os.Stat(plugin); code != 0 || !os.IsNotExist(err) {
		t.Errorf("with --force: exit code %d: %s, %v", code, stderr, err)
	}
}
