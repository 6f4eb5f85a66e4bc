// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/state"
)

var (
	spoken     = spec.Versions()
	attachment = state.Attachment{ContainerID: "c1", IfName: "eth0"}
)

// runtime calls the built plugin as a container runtime does.
type runtime struct {
	binary string
	store  *state.Store
	netns  string
}

func newRuntime(t *testing.T) *runtime {
	t.Helper()
	return &runtime{binary: binary(t, "halfclose"), store: state.New(t.TempDir()), netns: nstest.New(t).Path()}
}

// call makes one call with the usual environment and env, which takes precedence.
func (r *runtime) call(t *testing.T, verb, stdin string, env map[string]string) exited {
	t.Helper()
	e, err := r.process(verb, stdin, env).run()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// process is that of a call.
func (r *runtime) process(verb, stdin string, env map[string]string) process {
	all := map[string]string{
		"CNI_COMMAND": verb, "CNI_CONTAINERID": attachment.ContainerID, "CNI_IFNAME": attachment.IfName,
		"CNI_NETNS": r.netns, "CNI_PATH": "/opt/cni/bin", state.EnvDir: r.store.Dir(),
	}
	maps.Copy(all, env)
	return process{r.binary, all, stdin}
}

func (r *runtime) isRecorded(t *testing.T) bool {
	t.Helper()
	l, err := r.store.List(t.Context())
	if err != nil || len(l.Problems) > 0 {
		t.Fatalf("list records: %v, %v", err, l.Problems)
	}
	return len(l.Records) > 0
}

// conf is a network configuration; more is put into its object.
func conf(version, more string) string {
	return fmt.Sprintf(`{"cniVersion": %q, "name": "blue", "type": "halfclose", "reaper": "external"%s}`, version, more)
}

// chained is a network configuration with a prevResult.
func chained(version, more string) string {
	return conf(version, fmt.Sprintf(`, "prevResult": {"cniVersion": %q, "dns": {"domain": "example.org"}}%s`, version, more))
}

// cniError returns the one error that a call printed.
func (e exited) cniError(t *testing.T) types.Error {
	t.Helper()
	var cniErr types.Error
	if err := json.Unmarshal([]byte(e.stdout), &cniErr); err != nil || e.code != 1 || cniErr.Code == 0 {
		t.Fatalf("no CNI error: %+v", e)
	}
	return cniErr
}

// silent fails the test unless the call succeeded without output.
func (e exited) silent(t *testing.T) {
	t.Helper()
	if e != (exited{}) {
		t.Errorf("%+v, want success without output", e)
	}
}

func TestEachVerbInEachVersionThatHasIt(t *testing.T) {
	for _, v := range spoken {
		t.Run(v, func(t *testing.T) {
			r := newRuntime(t)
			added := r.call(t, "ADD", chained(v, ""), nil)
			var want, got any
			_ = json.Unmarshal(fmt.Appendf(nil, `{"cniVersion": %q, "dns": {"domain": "example.org"}}`, v), &want)
			if err := json.Unmarshal([]byte(added.stdout), &got); err != nil || added.code != 0 || added.stderr != "" {
				t.Fatalf("ADD: %+v", added)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if !r.isRecorded(t) {
				t.Fatal("ADD recorded nothing")
			}
			if v >= "0.4.0" {
				r.call(t, "CHECK", chained(v, ""), nil).silent(t)
			}
			if v >= "1.1.0" {
				noNames := map[string]string{"CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": ""}
				r.call(t, "STATUS", conf(v, ""), noNames).silent(t)
				r.call(t, "GC", conf(v, `, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]`), noNames).silent(t)
				if !r.isRecorded(t) {
					t.Error("GC removed a valid attachment")
				}
				r.call(t, "GC", conf(v, `, "cni.dev/valid-attachments": []`), noNames).silent(t)
				if r.isRecorded(t) {
					t.Error("GC removed nothing")
				}
			}
			r.call(t, "DEL", chained(v, ""), nil).silent(t)
			r.call(t, "DEL", conf(v, ""), map[string]string{"CNI_NETNS": ""}).silent(t)
			if r.isRecorded(t) {
				t.Error("DEL left a record")
			}
		})
	}
}

func TestAVerbThatAVersionDoesNotHaveIsSkelsError(t *testing.T) {
	tests := map[string][]string{
		"ADD":    {"", "0.1.0", "0.2.0", "0.3.0", "2.0.0"},
		"DEL":    {"", "0.1.0", "0.2.0", "0.3.0", "2.0.0"},
		"CHECK":  {"", "0.2.0", "0.3.1", "2.0.0"},
		"GC":     {"", "0.3.1", "0.4.0", "1.0.0", "2.0.0"},
		"STATUS": {"", "0.3.1", "0.4.0", "1.0.0", "2.0.0"},
	}
	for verb, versions := range tests {
		for _, v := range versions {
			t.Run(verb+" "+v, func(t *testing.T) {
				r := newRuntime(t)
				e := r.call(t, verb, chained(v, `, "cni.dev/valid-attachments": []`), nil).cniError(t)
				if e.Code != types.ErrIncompatibleCNIVersion {
					t.Errorf("%+v, want code 1", e)
				}
				if r.isRecorded(t) {
					t.Error("there is a record")
				}
			})
		}
	}
}

func TestVersionNamesTheVersionsSpoken(t *testing.T) {
	e := newRuntime(t).call(t, "VERSION", `{"cniVersion": "1.1.0"}`, nil)
	var got struct{ SupportedVersions []string }
	if err := json.Unmarshal([]byte(e.stdout), &got); err != nil || e.code != 0 {
		t.Fatalf("%+v", e)
	}
	if diff := cmp.Diff(spoken, got.SupportedVersions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDelTakesAnyStdin(t *testing.T) {
	for name, stdin := range map[string]string{
		"empty": "", "no JSON": `{"cniVersion":`, "no object": `[1, 2]`, "no name": `{"cniVersion": "1.0.0"}`, "null": "null",
		"a name of another type": `{"cniVersion": "1.0.0", "name": 5}`, "a name that is none": `{"cniVersion": "1.0.0", "name": "/"}`,
		"a version of another type": `{"cniVersion": 1, "name": "blue"}`,
		"every key wrong":           conf("1.0.0", `, "mode": 1, "grace": [], "exempt": "x", "failurePolicy": "fail", "runtimeConfig": 1, "prevResult": 1`),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t)
			if e := r.call(t, "ADD", chained("1.0.0", ""), nil); e.code != 0 {
				t.Fatalf("ADD: %+v", e)
			}
			for _, netns := range []string{r.netns, "", "/proc/self/ns/net"} {
				if e := r.call(t, "DEL", stdin, map[string]string{"CNI_NETNS": netns}); e.code != 0 || e.stdout != "" {
					t.Errorf("DEL with CNI_NETNS=%q: %+v", netns, e)
				}
				if r.isRecorded(t) {
					t.Errorf("DEL with CNI_NETNS=%q left a record", netns)
				}
			}
		})
	}
}

func TestDelNeedsTheAttachmentsNameAlone(t *testing.T) {
	bare := map[string]string{"CNI_PATH": "", "CNI_NETNS": "", "CNI_ARGS": ""}
	for name, stdin := range map[string]string{"with a configuration": chained("1.0.0", ""), "with nothing on stdin": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t)
			if e := r.call(t, "ADD", chained("1.0.0", ""), nil); e.code != 0 {
				t.Fatalf("ADD: %+v", e)
			}
			for range 2 {
				if e := r.call(t, "DEL", stdin, bare); e.code != 0 || e.stdout != "" || !strings.Contains(e.stderr, "CNI_PATH") {
					t.Errorf("%+v, want success, and a warning about CNI_PATH", e)
				}
				if r.isRecorded(t) {
					t.Error("it left a record")
				}
			}
		})
	}
}

func TestAnEnvironmentThatNamesNoAttachmentIsSkelsError(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"a container ID with a slash":   {"CNI_CONTAINERID": "../c1"},
		"no container ID":               {"CNI_CONTAINERID": ""},
		"an interface name with a /":    {"CNI_IFNAME": "../eth0"},
		"an interface name that is ..":  {"CNI_IFNAME": ".."},
		"no interface name":             {"CNI_IFNAME": ""},
		"a verb that there is not":      {"CNI_COMMAND": "RENAME"},
		"an interface name of 16 bytes": {"CNI_IFNAME": "abcdefghijklmnop"},
	} {
		for _, verb := range []string{"ADD", "DEL", "CHECK"} {
			t.Run(verb+" with "+name, func(t *testing.T) {
				r := newRuntime(t)
				if e := r.call(t, verb, chained("1.0.0", ""), env).cniError(t); e.Code != types.ErrInvalidEnvironmentVariables {
					t.Errorf("%+v, want code 4", e)
				}
			})
		}
	}
}

func TestStdoutCarriesOneObjectAndNothingElse(t *testing.T) {
	own := map[string]string{"CNI_NETNS": "/proc/self/ns/net"}
	overridden := map[string]string{"CNI_NETNS": "/proc/self/ns/net", "CNI_NETNS_OVERRIDE": "1"}
	tests := []struct {
		name  string
		stdin string
		env   map[string]string
		code  uint   // of the error; 0 is a result
		warns string // on stderr
	}{
		{"a wrong conflist under fail", chained("1.0.0", `, "failurePolicy": "fail", "graec": "1m", "mode": "kill"`), nil, 7, ""},
		{"a wrong conflist under ignore", chained("1.0.0", `, "graec": "1m", "mode": "kill"`), nil, 0, "$.graec"},
		{"no prevResult", conf("1.0.0", ""), nil, 7, ""},
		{"a configuration that is no JSON", `{"name": "blue"`, nil, 6, ""},
		{"the plugin's own namespace", chained("1.0.0", ""), own, 8, "of the plugin itself"},
		{"the plugin's own namespace, with CNI_NETNS_OVERRIDE", chained("1.0.0", ""), overridden, 0, "of the plugin itself"},
		{"the same under fail", chained("1.0.0", `, "failurePolicy": "fail"`), overridden, 8, ""},
		{"no namespace", chained("1.0.0", ""), map[string]string{"CNI_NETNS": "/run/netns/no-such"}, 0, "no such file"},
		{"no state directory", chained("1.0.0", ""), map[string]string{state.EnvDir: "/dev/null"}, 0, "/dev/null"},
		{"no state directory under fail", chained("1.0.0", `, "failurePolicy": "fail"`), map[string]string{state.EnvDir: "/dev/null"}, 5, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRuntime(t)
			e := r.call(t, "ADD", tt.stdin, tt.env)
			var got struct {
				types.Error
				CNIVersion string
				DNS        *types.DNS
			}
			if err := json.Unmarshal([]byte(e.stdout), &got); err != nil {
				t.Fatalf("stdout is not one JSON object (%v): %+v", err, e)
			}
			if got.Code != tt.code || (e.code != 0) != (tt.code != 0) || (got.DNS == nil) != (tt.code != 0) {
				t.Errorf("%+v, want code %d", e, tt.code)
			}
			if !strings.Contains(e.stderr, tt.warns) || tt.warns == "" && e.stderr != "" {
				t.Errorf("stderr %q, want something about %q", e.stderr, tt.warns)
			}
		})
	}
}

// skel opens CNI_NETNS for reading after ADD and DEL, which waits for ever on a FIFO.
func TestAFileThatIsNoNamespaceBlocksNoVerb(t *testing.T) {
	for name, create := range map[string]func(path string) error{
		"a FIFO": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link to a FIFO": func(path string) error {
			return errors.Join(unix.Mkfifo(path+".fifo", 0o600), os.Symlink(path+".fifo", path))
		},
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a device":    func(path string) error { return os.Symlink("/dev/null", path) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t)
			if e := r.call(t, "ADD", chained("1.0.0", ""), nil); e.code != 0 || !r.isRecorded(t) {
				t.Fatalf("ADD: %+v", e)
			}
			r.netns = filepath.Join(t.TempDir(), "netns")
			if err := create(r.netns); err != nil {
				t.Fatal(err)
			}
			if e := r.call(t, "CHECK", chained("1.0.0", ""), nil); e.code != 0 || !strings.Contains(e.stderr, "not a network namespace") || !r.isRecorded(t) {
				t.Errorf("CHECK: %+v, want a warning", e)
			}
			if e := r.call(t, "DEL", chained("1.0.0", ""), nil); e != (exited{}) || r.isRecorded(t) {
				t.Errorf("DEL: %+v, want success without output, and no record", e)
			}
			if e := r.call(t, "ADD", chained("1.0.0", ""), nil); e.code != 0 || !strings.Contains(e.stdout, "example.org") || !strings.Contains(e.stderr, "not a network namespace") || r.isRecorded(t) {
				t.Errorf("ADD: %+v, want the result, a warning and no record", e)
			}
			if e := r.call(t, "ADD", chained("1.0.0", `, "failurePolicy": "fail"`), nil).cniError(t); e.Code != types.ErrInvalidNetNS {
				t.Errorf("ADD under fail: %+v, want code 8", e)
			}
		})
	}
}

func TestWithoutCNICommandItSaysWhatItIs(t *testing.T) {
	r := newRuntime(t)
	e, err := process{path: r.binary}.run()
	if err != nil {
		t.Fatal(err)
	}
	if e.code != 2 || e.stdout != "" {
		t.Errorf("%+v, want exit code 2 and nothing on stdout, which is CNI's", e)
	}
	info, ok := buildinfo.ParsePlugin(e.stderr)
	if want := goruntime.Version(); !ok || info.Go != want || info.Version == "" || info.Commit == "" {
		t.Errorf("the build that it names is %+v, want one of %s", info, want)
	}
	for _, want := range []string{"0.3.1, 0.4.0, 1.0.0, 1.1.0", "CNI_COMMAND", "another program", "ADD cannot start it"} {
		if !strings.Contains(e.stderr, want) {
			t.Errorf("stderr %q, want %q in it", e.stderr, want)
		}
	}
}

func TestWithoutCNICommandItSaysWhereTheCommandIs(t *testing.T) {
	r, link := newInstalled(t)
	command, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := (process{path: r.binary}).run(); err != nil || e.code != 2 || !strings.Contains(e.stderr, "starts as the reaper: "+command) {
		t.Errorf("%+v, %v, want exit code 2 and the path of the command", e, err)
	}
}
