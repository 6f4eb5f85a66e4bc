// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/install"
	"github.com/halfclose/halfclose/pkg/launch"
)

const theCapability = `"capabilities": {"io.kubernetes.cri.pod-annotations": true}`

// conflist is a network configuration whose chain is a bridge and the objects given.
func conflist(version string, objects ...string) string {
	return fmt.Sprintf(`{"cniVersion": %q, "name": "pods", "plugins": [%s]}`, version, strings.Join(append([]string{`{"type": "bridge"}`}, objects...), ", "))
}

func ourObject(keys ...string) string {
	return "{" + strings.Join(append([]string{`"type": "halfclose"`, theCapability}, keys...), ", ") + "}"
}

// netOf creates network configurations and the plugin below a host root.
func netOf(t *testing.T, files map[string]string) Config {
	t.Helper()
	cfg := Config{HostRoot: t.TempDir(), ConfDir: spec.DefaultConfDir, BinDir: spec.DefaultBinDir}
	for name, text := range files {
		put(t, filepath.Join(cfg.HostRoot, cfg.ConfDir, name), text, 0o644)
	}
	putPrograms(t, cfg, buildinfo.Get())
	return cfg
}

// putPrograms creates a plugin and a command that report a build.
func putPrograms(t *testing.T, cfg Config, build buildinfo.Info) {
	t.Helper()
	info, err := json.Marshal(build)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(cfg.HostRoot, cfg.BinDir, "halfclose"), `#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"supportedVersions":["1.0.0"]}' && exit
echo '`+build.PluginLine()+`' >&2
exit 2`, 0o755)
	putCommand(t, cfg, string(info))
	link := filepath.Join(cfg.HostRoot, cfg.BinDir, launch.ReaperName)
	_ = os.Remove(link)
	if err := os.Symlink("/usr/bin/halfclose", link); err != nil {
		t.Fatal(err)
	}
}

// ProgramVar is the environment variable with the path of a copy of the test binary, which TestMain creates on the file
// system of the tests' directories. Many tests link to it: with the race detector it has 25 MB.
const ProgramVar = "HALFCLOSE_TEST_PROGRAM"

// putCommand creates a command, the test binary, that prints a version. With "" it exits with 1.
func putCommand(t *testing.T, cfg Config, version string) {
	t.Helper()
	path := filepath.Join(cfg.HostRoot, "/usr/bin/halfclose")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.Link(os.Getenv(ProgramVar), path); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(path + ".version")
	if version != "" {
		put(t, path+".version", version, 0o644)
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if program, err := os.Stat(os.Getenv(ProgramVar)); err == nil {
		if old, err := os.Lstat(path); err == nil && os.SameFile(program, old) {
			remove(t, path) // writing would change the other tests' links
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
}

func reportNet(t *testing.T, cfg Config) []Finding {
	t.Helper()
	return reportChains(inspectChains(t.Context(), cfg))
}

func TestNetworkConfigurationsAreCheckedAsRuntimesReadThem(t *testing.T) {
	good := conflist("1.0.0", ourObject())
	chosen := want{"cni", OK, "runtimes choose 10-pods.conflist (network pods), which chains halfclose: destroy, grace 1h, podOverrides any, reaper auto, failurePolicy ignore", ""}
	binary := want{"cni-binary", OK, "of the same build", ""}
	sibling := want{"auto-start", OK, "ADD starts /usr/bin/halfclose as the reaper", ""}
	for _, tt := range []struct {
		name  string
		files map[string]string
		wants []want
	}{
		{"none", map[string]string{"README": "nothing here"}, []want{{"cni", Info, "holds no valid network configuration", "halfclose install"}}},
		{"a good one", map[string]string{"10-pods.conflist": good}, []want{chosen, binary}},
		{"another sorts before it", map[string]string{"05-other.conflist": conflist("1.0.0"), "10-pods.conflist": good}, []want{
			{"cni", Warn, "runtimes choose 05-other.conflist (network pods), the first by name, which does not chain halfclose; 10-pods.conflist does", `appends {"type": "halfclose"`}, binary,
		}},
		{"another sorts after it", map[string]string{"10-pods.conflist": good, "20-more.conflist": good}, []want{
			chosen, {"cni", OK, "20-more.conflist chains halfclose too", ""}, binary,
		}},
		{"none of them ours", map[string]string{"05-other.conflist": conflist("1.0.0")}, []want{{"cni", Info, "does not chain halfclose: no container is registered", "halfclose install"}}},
		{"a broken one sorts before it", map[string]string{"05-broken.conflist": "{", "10-pods.conflist": good}, []want{
			{"cni", Warn, "05-broken.conflist is no valid network configuration: error parsing configuration list: unexpected end of JSON input; containerd stops at it", "correct it, or remove it from /etc/cni/net.d"}, chosen, binary,
		}},
		{"a broken one sorts after it", map[string]string{"10-pods.conflist": good, "99-broken.conf": "{}"}, []want{
			{"cni", Warn, "99-broken.conf is no valid network configuration: error parsing configuration: missing 'type'", ""}, chosen, binary,
		}},
		{"a broken one alone", map[string]string{"10-broken.conflist": "[]"}, []want{{"cni", Warn, "containerd stops at it", ""}, {"cni", Info, "no valid", ""}}},
		{"one without plugins", map[string]string{"10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods"}`}, []want{{"cni", Warn, "it has no plugins", ""}, {"cni", Info, "no valid", ""}}},
		{"a file that runtimes do not read", map[string]string{"10-pods.conflist": good, "05-pods.conflist.bak": "{"}, []want{chosen, binary}},
		{"other values", map[string]string{"10-pods.conflist": conflist("0.4.0",
			ourObject(`"mode": "observe"`, `"closeWaitGrace": "2m"`, `"finWait2Grace": "never"`, `"clock": "state"`, `"pendingGrace": "3h"`, `"probeAfter": "never"`, `"rules": [{"match": {"role": "client"}, "grace": "1m"}]`, `"exempt": [{"loopback": true}]`, `"podOverrides": "none"`, `"reaper": "external"`))}, []want{
			{"cni", OK, "observe, grace of CLOSE_WAIT 2m, of FIN_WAIT2 never, clock state, probeAfter never, pendingGrace 3h, 1 exemption, 1 rule, podOverrides none, reaper external", ""}, binary,
		}},
		{"mistakes", map[string]string{"10-pods.conflist": conflist("1.0.0", ourObject(`"graec": "1m"`, `"mode": "kill"`))}, []want{
			chosen,
			{"cni", Warn, `10-pods.conflist: $.plugins[1].graec: unknown key, did you mean "grace"? (the network's containers are only observed)`, "correct it"},
			{"cni", Warn, `$.plugins[1].mode: `, "correct it"},
			binary,
		}},
		{"a mistake with which no pod starts", map[string]string{"10-pods.conflist": conflist("1.0.0", ourObject(`"grace": 600`, `"failurePolicy": "fail"`))}, []want{
			{"cni", OK, "failurePolicy fail", ""}, {"cni", Fail, `$.plugins[1].grace: want a duration`, "correct it"}, binary,
		}},
		{"no capability", map[string]string{"10-pods.conflist": conflist("1.0.0", `{"type": "halfclose"}`)}, []want{
			chosen, {"cni", Warn, "does not declare the capability io.kubernetes.cri.pod-annotations", `"podOverrides": "none"`}, binary,
		}},
		{"no capability, and none needed", map[string]string{"10-pods.conflist": conflist("1.0.0", `{"type": "halfclose", "podOverrides": "none"}`)}, []want{
			{"cni", OK, "podOverrides none", ""}, binary,
		}},
		{"the first of its chain", map[string]string{"10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods", "plugins": [` + ourObject() + `]}`}, []want{
			chosen, {"cni", Fail, "$.plugins[0] is the first of the chain", "after the plugin"}, binary,
		}},
		{"a single plugin", map[string]string{"10-pods.conf": `{"cniVersion": "1.0.0", "name": "pods", "type": "halfclose", ` + theCapability + `}`}, []want{
			{"cni", OK, "10-pods.conf", ""}, {"cni", Fail, "the first of the chain", ""}, binary,
		}},
		{"twice", map[string]string{"10-pods.conflist": conflist("1.0.0", ourObject(), ourObject(`"mode": "observe"`))}, []want{
			{"cni", OK, "observe, grace 1h", ""}, {"cni", Warn, "in the chain 2 times", "leave one"}, binary,
		}},
		{"for containerd 1.7 and later", map[string]string{"10-pods.conflist": conflist("1.1.0", ourObject())}, []want{chosen, {"cni", Info, "refused by containerd 1.6", "write 1.0.0"}, binary}},
		{"of an unsupported version", map[string]string{"10-pods.conflist": conflist("0.2.0", ourObject())}, []want{chosen, {"cni", Fail, `does not support cniVersion "0.2.0"`, "write 1.0.0"}, binary}},
		{"a drop-in", map[string]string{"10-pods.conflist": conflist("1.0.0"), "pods/50-halfclose.conf": ourObject(), "pods/README": "x"}, []want{chosen, binary}},
		{"a drop-in that is not loaded", map[string]string{
			"10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "bridge"}]}`, "pods/50-halfclose.conf": ourObject(),
		}, []want{{"cni", Info, "does not chain halfclose", ""}}},
		{"a drop-in of a single plugin", map[string]string{
			"10-pods.conf": `{"cniVersion": "1.0.0", "name": "pods", "type": "bridge"}`, "pods/50-halfclose.conf": ourObject(),
		}, []want{{"cni", Info, "runtimes choose 10-pods.conf (network pods), which does not chain halfclose", ""}}},
		{"a broken drop-in", map[string]string{
			"10-pods.conflist": conflist("1.0.0"), "pods/50-halfclose.conf": ourObject(), "pods/60-broken.conf": "{", "20-more.conflist": good,
		}, []want{
			{"cni", Warn, "10-pods.conflist is no valid network configuration: pods/60-broken.conf: ", ""},
			{"cni", Warn, "20-more.conflist is no valid network configuration: pods/60-broken.conf: ", ""},
			{"cni", Info, "no valid", ""},
		}},
		{"a directory named like a network", map[string]string{"05-pods.conflist/README": "x", "10-pods.conflist": good}, []want{chosen, binary}},
		{"an unsupported version for older runtimes", map[string]string{
			"10-pods.conflist": strings.Replace(good, `"name"`, `"cniVersions": ["1.0.0"], "name"`, 1), "20-more.conflist": strings.Replace(good, `"1.0.0", "name"`, `"0.2.0", "cniVersions": ["1.0.0"], "name"`, 1),
		}, []want{chosen, {"cni", OK, "20-more.conflist", ""}, {"cni", Fail, `20-more.conflist: halfclose does not support cniVersion "0.2.0"`, "0.3.1, 0.4.0, 1.0.0 and 1.1.0"}, binary}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.wants[len(tt.wants)-1] == binary && tt.name != "other values" { // with an external reaper
				tt.wants = append(tt.wants, sibling)
			}
			expect(t, reportNet(t, netOf(t, tt.files)), tt.wants...)
		})
	}
}

func TestTheShippedConflistPasses(t *testing.T) {
	text, err := os.ReadFile("../../deploy/cni/10-halfclose.conflist")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, reportNet(t, netOf(t, map[string]string{"10-halfclose.conflist": string(text)})),
		want{"cni", OK, "which chains halfclose: destroy, grace 1h", ""}, want{"cni-binary", OK, "", ""}, want{"auto-start", OK, "", ""})
}

// install and doctor have one limit of a file's size: install writes no file that doctor cannot read.
func TestALargeNetworkThatInstallExtendedPasses(t *testing.T) {
	large := func(size int) string {
		text := conflist("1.0.0")
		return text + strings.Repeat(" ", size-len(text))
	}
	entry, problems := install.NewEntry([]byte(`{"reaper": "external"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, tt := range []struct {
		size  int
		fits  bool
		wants []want
	}{
		{3 << 20, true, []want{{"cni", OK, "which chains halfclose", ""}, {"cni-binary", OK, "", ""}}},
		{cniconf.MaxFileSize, false, []want{{"cni", Info, "does not chain halfclose", ""}}},
	} {
		cfg := netOf(t, map[string]string{"10-pods.conflist": large(tt.size)})
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(cfg.HostRoot, cfg.ConfDir, "10-pods.conflist"), past, past); err != nil {
			t.Fatal(err)
		}
		plugin := filepath.Join(cfg.HostRoot, cfg.BinDir, spec.PluginType)
		_, err := install.Install(t.Context(), install.Config{
			HostRoot: cfg.HostRoot, ConfDir: cfg.ConfDir, BinDir: cfg.BinDir, Plugin: plugin, Entry: entry, TrustBinDir: true,
		})
		if (err == nil) != tt.fits || err != nil && !strings.Contains(err.Error(), "10-pods.conflist would have 41") {
			t.Errorf("install in a file of %d bytes: %v", tt.size, err)
		}
		expect(t, reportNet(t, cfg), tt.wants...)
	}
}

func TestADeletedNetworkDirectoryIsNotReportedAsEmpty(t *testing.T) {
	cfg := Config{HostRoot: t.TempDir(), ConfDir: spec.DefaultConfDir}
	at, deleted := filepath.Join(cfg.HostRoot, cfg.ConfDir), filepath.Join(t.TempDir(), "net.d")
	if err := errors.Join(os.MkdirAll(at, 0o755), os.Mkdir(deleted, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(deleted, at, "", unix.MS_BIND, ""); err != nil {
		nstest.NeedPrivilege(t, "mount a directory", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	expect(t, reportNet(t, cfg), want{"cni", Info, "holds no valid network configuration", ""})
	remove(t, deleted)
	expect(t, reportNet(t, cfg), want{"cni", Warn, "/etc/cni/net.d was deleted on the node", "restart this container"})
}

func TestWithoutANetworkDirectoryThereIsNoCNI(t *testing.T) {
	expect(t, reportNet(t, Config{HostRoot: t.TempDir(), ConfDir: spec.DefaultConfDir}), want{"cni", Info, "there is no /etc/cni/net.d", "--cni-conf-dir"})
	expect(t, reportChains(chains{dir: "/d", err: unix.EACCES}), want{"cni", Warn, "/d cannot be read: permission denied", "as root"})
}

func TestSymbolicLinksResolveBelowTheHostRoot(t *testing.T) {
	cfg := netOf(t, nil)
	put(t, filepath.Join(cfg.HostRoot, "var/cni/real.conflist"), conflist("1.0.0", ourObject()), 0o644)
	for at, to := range map[string]string{
		filepath.Join(spec.DefaultConfDir, "10-pods.conflist"): "/var/cni/real.conflist", "/opt/cni/link": "/../../../opt/cni/bin",
	} {
		path := filepath.Join(cfg.HostRoot, at)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
			t.Fatal(err)
		}
	}
	cfg.BinDir = "/opt/cni/link"
	expect(t, reportNet(t, cfg), want{"cni", OK, "10-pods.conflist", ""}, want{"cni-binary", OK, "/opt/cni/link/halfclose", ""}, want{"auto-start", OK, "", ""})
}

func TestAFIFOOrALargeFileDoesNotBlock(t *testing.T) {
	cfg := netOf(t, map[string]string{"10-pods.conflist": conflist("1.0.0", ourObject()), "30-large.conf": strings.Repeat(" ", cniconf.MaxFileSize+1)})
	if err := unix.Mkfifo(filepath.Join(cfg.HostRoot, cfg.ConfDir, "20-fifo.conflist"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, reportNet(t, cfg), want{"cni", Warn, "20-fifo.conflist is no valid network configuration: not a regular file", ""},
		want{"cni", Warn, "30-large.conf is no valid network configuration: larger than", ""}, want{"cni", OK, "10-pods.conflist", ""}, want{"cni-binary", OK, "", ""}, want{"auto-start", OK, "", ""})
}

func TestThePluginIsRunForItsVersion(t *testing.T) {
	fail := func(what, do string) want { return want{"cni-binary", Fail, what, do} }
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, cfg Config, path string)
		want   want
	}{
		{"none", func(t *testing.T, _ Config, path string) { remove(t, path) }, fail("there is no /opt/cni/bin/halfclose, but halfclose is chained", "--cni-bin-dir")},
		{"a directory", func(t *testing.T, _ Config, path string) {
			remove(t, path)
			put(t, filepath.Join(path, "x"), "", 0o600)
		}, fail("is no regular file", "run halfclose install")},
		{"not executable", func(t *testing.T, _ Config, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}, fail("cannot be executed (-rw-r--r--)", "chmod 755 /opt/cni/bin/halfclose")},
		{"for another machine", func(t *testing.T, _ Config, path string) { remove(t, path); put(t, path, "\x7fELF\x02", 0o755) }, fail("exec format error", "for this machine")},
		{"something else", func(t *testing.T, _ Config, path string) {
			remove(t, path)
			put(t, path, "#!/bin/sh\necho it is something else >&2; exit 3", 0o755)
		}, fail("exit status 3: it is something else", "check whether it is halfclose")},
		{"something that prints something else", func(t *testing.T, _ Config, path string) {
			remove(t, path)
			put(t, path, "#!/bin/sh\necho hello", 0o755)
		}, fail("it is no CNI plugin", "check whether it is halfclose")},
		{"another version", func(t *testing.T, cfg Config, _ string) {
			putPrograms(t, cfg, buildinfo.Info{Version: "v0.0.1", Commit: "c", Go: "g", Platform: "p"})
		}, want{"cni-binary", Warn, "is halfclose v0.0.1 (commit c, g, p), and this is halfclose", "of the newer build"}},
		{"a plugin that reports no build", func(t *testing.T, _ Config, path string) {
			remove(t, path)
			put(t, path, `#!/bin/sh`+"\n"+`echo '{"supportedVersions":["1.0.0"]}'`, 0o755)
		}, want{"cni-binary", Warn, "does not report a build of halfclose", "run halfclose install"}},
		{"this command", func(t *testing.T, _ Config, path string) { putThisCommand(t, path) }, fail("is this command and not the plugin", "move the command")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := netOf(t, nil)
			tt.change(t, cfg, filepath.Join(cfg.HostRoot, cfg.BinDir, "halfclose"))
			expect(t, reportBinary(inspectBinary(t.Context(), hostfs.Dir(cfg.HostRoot), filepath.Join(cfg.BinDir, "halfclose"))), tt.want)
		})
	}
	t.Run("another user's", func(t *testing.T) {
		expect(t, reportBinary(binary{path: "/p", mode: 0o700, run: unix.EACCES}), want{"cni-binary", Warn, "/p cannot be run", "as root"})
		expect(t, reportBinary(binary{path: "/p", err: unix.EACCES}), want{"cni-binary", Warn, "/p cannot be inspected", "as root"})
	})
}

// putThisCommand replaces a file by a hard link to the test's own binary, which the doctor takes for the running command.
func putThisCommand(t *testing.T, path string) {
	t.Helper()
	remove(t, path)
	if own, err := os.Executable(); err != nil {
		t.Fatal(err)
	} else if err := os.Link(own, path); errors.Is(err, unix.EXDEV) {
		t.Skip("the test's binary and its temporary files are on different file systems")
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestTheReapersProgramIsCheckedAsADDChecksIt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, cfg Config)
		want   want
	}{
		{"the command of this build", func(*testing.T, Config) {}, want{"auto-start", OK, "ADD starts /usr/bin/halfclose as the reaper, of the same build as this", ""}},
		{"the command of another build", func(t *testing.T, cfg Config) {
			putPrograms(t, cfg, buildinfo.Info{Version: "v0.0.1", Commit: "c", Go: "g", Platform: "p"})
		}, want{"auto-start", Warn, "/usr/bin/halfclose, which ADD starts as the reaper, is halfclose v0.0.1 (commit c, g, p), and this is", "run halfclose install"}},
		{"this command", func(t *testing.T, cfg Config) {
			putThisCommand(t, filepath.Join(cfg.HostRoot, "/usr/bin/halfclose"))
		}, want{"auto-start", OK, "ADD starts this command as the reaper (/usr/bin/halfclose)", ""}},
		{
			"none", func(t *testing.T, cfg Config) { remove(t, filepath.Join(cfg.HostRoot, cfg.BinDir, launch.ReaperName)) },
			want{"auto-start", Warn, "/opt/cni/bin/halfclose-reaper: missing", "run halfclose install"},
		},
		{
			"a dangling link", func(t *testing.T, cfg Config) { remove(t, filepath.Join(cfg.HostRoot, "/usr/bin/halfclose")) },
			want{"auto-start", Warn, "leads to /usr/bin/halfclose, which is missing", "run halfclose install"},
		},
		{"in a directory that others can write to", func(t *testing.T, cfg Config) {
			if err := os.Chmod(filepath.Join(cfg.HostRoot, "/usr/bin"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, want{"auto-start", Warn, "directory /usr/bin: writable by other users than root (mode 0777)", "--reaper external"}},
		{"the plugin", func(t *testing.T, cfg Config) {
			link := filepath.Join(cfg.HostRoot, cfg.BinDir, launch.ReaperName)
			remove(t, link)
			put(t, filepath.Join(cfg.HostRoot, cfg.BinDir, "halfclose"), "\x7fELF", 0o755)
			if err := os.Symlink("halfclose", link); err != nil {
				t.Fatal(err)
			}
		}, want{"auto-start", Warn, "halfclose-reaper: the plugin itself", "run halfclose install"}},
		{"a script", func(t *testing.T, cfg Config) {
			put(t, filepath.Join(cfg.HostRoot, "/usr/bin/halfclose"), "#!/bin/sh\nexec /usr/local/bin/halfclose \"$@\"", 0o755)
		}, want{"auto-start", Warn, "/usr/bin/halfclose: not executable: a script, or no ELF program", "run halfclose install"}},
		{"a command that reports no version", func(t *testing.T, cfg Config) {
			putCommand(t, cfg, "")
		}, want{"auto-start", Warn, "does not report its version: exit status 1", "run halfclose install"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := netOf(t, nil)
			tt.change(t, cfg)
			expect(t, reportSibling(inspectBinary(t.Context(), hostfs.Dir(cfg.HostRoot), filepath.Join(cfg.BinDir, "halfclose"))), tt.want)
		})
	}
}

func TestAProgramThatDoesNotExitDoesNotPreventTheCheckOfTheOther(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, cfg Config)
		wants  []want
	}{
		"a plugin that sleeps": {
			func(t *testing.T, cfg Config) {
				put(t, filepath.Join(cfg.HostRoot, cfg.BinDir, "halfclose"), "#!/bin/sh\nexec sleep 1000", 0o755)
			},
			[]want{{"cni-binary", Fail, "does not answer as a plugin: it does not answer within ", "run halfclose install"}, {"auto-start", OK, "of the same build as this", ""}},
		},
		"a command that writes without end": {
			func(t *testing.T, cfg Config) {
				putCommand(t, cfg, "")
				if err := os.Symlink("/dev/zero", filepath.Join(cfg.HostRoot, "/usr/bin/halfclose.version")); err != nil {
					t.Fatal(err)
				}
			},
			[]want{{"cni-binary", OK, "of the same build as this", ""}, {"auto-start", Warn, "does not report its version: it does not answer within ", "run halfclose install"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := netOf(t, nil)
			tt.change(t, cfg)
			cfg.StateDir, cfg.SwitchPath, cfg.Limit = t.TempDir(), filepath.Join(t.TempDir(), "mode"), DefaultLimit
			put(t, filepath.Join(cfg.HostRoot, cfg.ConfDir, "10-pods.conflist"), conflist("1.0.0", ourObject()), 0o644)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			report := Run(t.Context(), cfg)
			runtime.ReadMemStats(&after)
			var got []Finding
			for _, f := range report.Findings {
				if f.Check == "cni-binary" || f.Check == "auto-start" {
					got = append(got, f)
				}
			}
			expect(t, got, tt.wants...)
			t.Log(after.TotalAlloc - before.TotalAlloc)
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
				t.Errorf("the report took %d bytes of memory, want no more than 64 MiB", took)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func FuzzNetworkConfiguration(f *testing.F) {
	f.Add("10-pods.conflist", []byte(conflist("1.0.0", ourObject(`"graec": 1`))))
	f.Add("10-pods.conf", []byte(`{"type": "halfclose"}`))
	f.Add("x.json", []byte(`{"name": "../..", "type": "halfclose", "plugins": null}`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		f := cniconf.File{Name: name, Data: data}
		if f.List, f.Err = cniconf.Parse(name, data); f.Err == nil && len(f.List.Plugins) == 0 {
			f.Err = errors.New("it has no plugins")
		}
		complete(t, reportChains(chains{dir: "/d", files: []confFile{{File: f, ours: ourPlugins(f)}}}))
	})
}
