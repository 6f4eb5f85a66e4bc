// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/internal/testpage"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// packagesVar is an environment variable with the directory of the packages under test.
const packagesVar = "SYSTEMD_TEST_PACKAGES"

// packagesDir is the path of the packages on a machine: older and newer have one release each.
const packagesDir = "/opt/packages"

// The versions of the packages.
const (
	olderVersion = "0.0.8"
	newerVersion = "0.0.9"
)

// makePackagesDir creates the directory of the packages on the host, and sets packagesVar.
func makePackagesDir() error {
	dir, err := os.MkdirTemp("", "halfclose-packages")
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, 0o755), os.Setenv(packagesVar, dir))
}

func removePackages() error { return os.RemoveAll(os.Getenv(packagesVar)) }

// buildPackages builds the packages of two releases once, for the first test that needs them. The rpm is built if the host
// can install one.
var buildPackages = sync.OnceValue(func() error {
	dir, formats := os.Getenv(packagesVar), "deb"
	if _, err := exec.LookPath("rpm"); err == nil {
		formats += " rpm"
	}
	for name, v := range map[string]string{"older": olderVersion, "newer": newerVersion} {
		cmd := exec.Command(filepath.Join(top, "scripts/release.sh"), "programs", "manual", "tarballs", "packages")
		cmd.Env = append(os.Environ(), "ALLOW_DIRTY=1", "VERSION="+v, "PLATFORMS=linux/"+runtime.GOARCH, "FORMATS="+formats,
			"DIST="+filepath.Join(dir, name), "WORK="+filepath.Join(dir, "work"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the packages with scripts/release.sh: %w: %s", err, out)
		}
	}
	return nil
})

// newPackagedMachine returns a machine without halfclose, on which the packages can be installed: its /usr is writable, its
// package databases are empty, and its network has a plugin that works.
func newPackagedMachine(t *testing.T) *machine {
	t.Helper()
	node.Need(t)
	systemdBinary(t)
	if _, err := exec.LookPath("dpkg"); err != nil {
		nstest.Skip(t, "dpkg is not installed")
	}
	// The node has no network: without nfpm, scripts/release.sh can build it only from the module cache.
	if err := buildPackages(); err != nil {
		nstest.Skip(t, err.Error())
	}
	m := &machine{t: t, root: t.TempDir(), bare: true, packages: os.Getenv(packagesVar)}
	if err := os.MkdirAll(filepath.Join(m.root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.furnish("")
	m.write("etc/cni/net.d/10-net.conflist", `{
  "cniVersion": "1.0.0",
  "name": "net",
  "plugins": [
    {"type": "bridge", "bridge": "pods", "ipam": {"type": "host-local", "dataDir": "/run/ipam", "subnet": "10.9.0.0/24"}}
  ]
}
`)
	for _, dir := range []string{"lib/dpkg/info", "lib/dpkg/updates", "lib/dpkg/triggers", "lib/apt/lists/partial", "cache/apt/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(m.root, "var", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"lib/dpkg/status", "lib/dpkg/available", "log/dpkg.log"} {
		m.write("var/"+file, "")
	}
	return m
}

// allowServices lets packages start their services, which the host may forbid, as container images do.
func (m *machine) allowServices() {
	m.t.Helper()
	m.run("rm", "-f", "/usr/sbin/policy-rc.d")
}

// isListed reports whether the conflist has an entry of halfclose.
func (m *machine) isListed() bool {
	return strings.Contains(m.read("/etc/cni/net.d/10-net.conflist"), `"halfclose"`)
}

// read returns the content of a file of the machine.
func (m *machine) read(path string) string {
	m.t.Helper()
	b, err := os.ReadFile(m.at(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// exists reports whether a file exists on the machine.
func (m *machine) exists(path string) bool {
	m.t.Helper()
	_, err := os.Lstat(m.at(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.Fatal(err)
	}
	return err == nil
}

// dpkg returns the status of the package as dpkg abbreviates it, such as ii for an installed and rc for a removed one.
func (m *machine) dpkg() string {
	out, _ := m.try("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "halfclose")
	if strings.Contains(out, "no packages found") {
		return ""
	}
	return strings.TrimSpace(out)
}

// deb returns the path of a package of the directory on the machine, as a pattern for the shell.
func deb(dir string) string {
	return packagesDir + "/" + dir + "/halfclose_*_" + runtime.GOARCH + ".deb"
}

// plugins runs the machine's CNI plugins for libcni, which runs here as a container runtime.
type plugins struct {
	m *machine
	version.PluginDecoder
}

func (p *plugins) FindInPath(plugin string, paths []string) (string, error) {
	for _, dir := range paths {
		if path := filepath.Join(dir, plugin); p.m.exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no plugin %s in %s", plugin, paths)
}

func (p *plugins) ExecPlugin(_ context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	var cni []string
	for _, v := range environ {
		if strings.HasPrefix(v, "CNI_") {
			cni = append(cni, v)
		}
	}
	cmd := p.m.command("env", append(cni, path)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), p.m.t.Output()
	out, err := cmd.Output() // not of ctx, whose end would kill nsenter alone
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", path, err, out)
	}
	return out, err
}

// runtime returns the machine's container runtime. Like CRI-O, it deletes a container with the configuration that it had
// saved.
func (m *machine) runtime() (cni *libcni.CNIConfig, list *libcni.NetworkConfigList) {
	m.t.Helper()
	list, err := libcni.NetworkConfFromFile(m.at("/etc/cni/net.d/10-net.conflist"))
	if err != nil {
		m.t.Fatal(err)
	}
	return libcni.NewCNIConfigWithCacheDir([]string{pluginDir}, m.at("/var/lib/cni"), &plugins{m: m}), list
}

func attachment(name string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: name, NetNS: "/run/netns/" + name, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", name}},
	}
}

// startPod creates a pod as a container runtime does.
func (m *machine) startPod(name string) {
	m.t.Helper()
	m.run("ip", "netns", "add", name)
	m.run("ip", "-n", name, "link", "set", "lo", "up")
	cni, list := m.runtime()
	if _, err := cni.AddNetworkList(m.t.Context(), list, attachment(name)); err != nil {
		m.t.Fatalf("the pod %s does not start: %v", name, err)
	}
}

// stopPod deletes a pod with the configuration that it was created with.
func (m *machine) stopPod(name string) {
	m.t.Helper()
	cni, list := m.runtime()
	saved, conf, err := cni.GetNetworkListCachedConfig(list, attachment(name))
	if err != nil || saved == nil {
		m.t.Fatalf("the configuration of pod %s: %q, %v", name, saved, err)
	}
	if list, err = libcni.NetworkConfFromBytes(saved); err != nil {
		m.t.Fatal(err)
	}
	if err := cni.DelNetworkList(m.t.Context(), list, conf); err != nil {
		m.t.Errorf("the pod %s does not stop: %v", name, err)
	}
	m.run("ip", "netns", "del", name)
}

// podsWork starts and stops a pod, and checks whether it is registered.
func (m *machine) podsWork(when string, registered bool) {
	m.t.Helper()
	m.startPod("passing")
	_, err := m.node().Store.Get(state.Attachment{ContainerID: "passing", IfName: "eth0"})
	if got := err == nil; got != registered {
		m.t.Errorf("%s: a new pod is registered: %v, want %v (%v)", when, got, registered, err)
	}
	m.stopPod("passing")
}

// leaking starts a pod and a process in it that leaks a connection.
func (m *machine) leaking(name string) *process {
	m.t.Helper()
	m.startPod(name)
	cmd := m.command("nsenter", "--net=/run/netns/"+name, "setpriv", "--reuid="+strconv.Itoa(otherUser), "--clear-groups", container)
	return startContainer(m.t, cmd, cmd.Start)
}

// pluginVersion returns the version of the plugin that runtimes call.
func (m *machine) pluginVersion() string {
	m.t.Helper()
	out, _ := m.try(pluginDir + "/halfclose")
	found := regexp.MustCompile(`CNI plugin halfclose v(\S+)`).FindStringSubmatch(out)
	if found == nil {
		m.t.Fatalf("the plugin prints %s", out)
	}
	return found[1]
}

// runs checks the state of the installed package.
func (m *machine) runs(when, version string) {
	m.t.Helper()
	if got := m.dpkg(); got != "ii" {
		m.t.Errorf("%s: the package's status is %q", when, got)
	}
	if got := m.run("halfclose", "version"); !strings.Contains(got, " v"+version+" ") {
		m.t.Errorf("%s: the command is %s", when, got)
	}
	m.active(0) // systemd retries a start that takes longer than TimeoutStartSec on a busy machine
	if enabled := m.property("UnitFileState"); enabled != "enabled" {
		m.t.Errorf("%s: the service is %s", when, enabled)
	}
	if s := m.status(); s.Version.Version != "v"+version || s.Holder.StartedBy != api.BySystemd {
		m.t.Errorf("%s: the reaper is %v, of version %v", when, s.Holder, s.Version)
	}
}

// readme returns the commands after a text in README.md, for root in a directory with dist.
func readme(t *testing.T, after string, want int) []string {
	t.Helper()
	commands, err := testpage.Commands(filepath.Join(top, "README.md"), after)
	if err != nil || len(commands) != want {
		t.Fatalf("README.md has the commands %q after %q, %v: want %d", commands, after, err, want)
	}
	for i, command := range commands {
		command = strings.ReplaceAll(strings.TrimPrefix(command, "sudo "), "_amd64", "_"+runtime.GOARCH)
		commands[i] = "cd /tmp/halfclose; " + command
	}
	return commands
}

// quickPolicy destroys sockets of all pods after one second, except those of the pod named kept.
const quickPolicy = `version: 1
defaults: {closeWaitGrace: 1s, finWait2Grace: 1h}
pods:
  - match: {pod: kept}
    set: {closeWaitGrace: 1h}
`

func TestADebIsInstalledUpgradedRemovedAndPurgedWhilePodsStartAndStop(t *testing.T) {
	t.Parallel()
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	m.podsWork("before the installation", false)

	m.run("sh", "-ec", "mkdir /tmp/halfclose && ln -s "+packagesDir+"/older /tmp/halfclose/dist")
	install, allow := readme(t, "On a node:\n", 2), readme(t, "allow destruction on the node:\n", 1)
	m.run("sh", "-ec", install[0])
	m.runs("after the installation", olderVersion)
	if mode := m.status().Mode; mode.Effective != policy.Observe || mode.Switch == nil {
		t.Errorf("a new installation has the mode %+v", mode)
	}
	if m.isListed() || m.exists(pluginDir+"/halfclose") {
		t.Error("the package has changed the network")
	}
	m.podsWork("after the installation", false)

	m.run("sh", "-ec", "cat >/etc/halfclose/policy.yaml <<'END'\n"+quickPolicy+"END")
	m.run("sh", "-ec", install[1])
	m.run("halfclose", "install", "--probe-count", "7") // which only changes the entry
	entry := m.read("/etc/cni/net.d/10-net.conflist")
	m.podsWork("with the entry", true)
	web, kept := m.leaking("web"), m.leaking("kept")
	m.node().AwaitEntry(web.Leak, api.WouldDestroy)
	if !m.halfClosed(web.Leak) {
		t.Error("a new installation destroys sockets")
	}
	m.run("sh", "-ec", allow[0])
	m.destroyed(web.Leak)
	if leak, live := web.write(); leak != "ECONNABORTED" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection %s", leak, live)
	}

	nstest.Eventually(t, testnode.Patience, "the kept leak has an age", func() bool { return m.age(kept.Leak) > 3*time.Second })
	for _, step := range []struct{ when, dir, version string }{
		{"after the upgrade", "newer", newerVersion}, {"after the downgrade", "older", olderVersion}, {"after the second upgrade", "newer", newerVersion},
	} {
		before, pid := m.knownAge(kept.Leak), m.mainPID()
		m.run("sh", "-ec", "dpkg -i "+deb(step.dir))
		m.runs(step.when, step.version)
		if m.mainPID() == pid {
			t.Errorf("%s: the old reaper still runs", step.when)
		}
		if now := m.knownAge(kept.Leak); now < before {
			t.Errorf("%s: the leak was %v old before, and is %v now", step.when, before, now)
		}
		if got := m.pluginVersion(); got != step.version {
			t.Errorf("%s: runtimes call the plugin of version %s", step.when, got)
		}
		if got := m.read("/etc/cni/net.d/10-net.conflist"); got != entry {
			t.Errorf("%s: the network is %s", step.when, got)
		}
		if mode := m.status().Mode; mode.Effective != policy.Destroy {
			t.Errorf("%s: the mode is %+v", step.when, mode)
		}
		m.podsWork(step.when, true)
	}
	m.kept("after all upgrades", kept)

	m.run("apt-get", "remove", "-y", "halfclose")
	if got := m.dpkg(); got != "rc" || m.exists("/usr/bin/halfclose") || m.isListed() {
		t.Errorf("after the removal, the status is %q, and the network %s", got, m.read("/etc/cni/net.d/10-net.conflist"))
	}
	if _, err := m.node().Client.Status(t.Context()); err == nil {
		t.Error("after the removal, a reaper runs")
	}
	m.podsWork("after the removal", false)
	m.stopPod("web") // by the kept plugin
	if _, err := m.node().Store.Get(state.Attachment{ContainerID: "web", IfName: "eth0"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record of a pod that was deleted after the removal: %v", err)
	}

	m.run("sh", "-ec", "dpkg -i "+deb("newer"))
	m.runs("when it is installed again", newerVersion)
	if mode := m.status().Mode; mode.Effective != policy.Destroy {
		t.Errorf("when it is installed again, the mode is %+v", mode)
	}
	if now := m.knownAge(kept.Leak); now < 3*time.Second {
		t.Errorf("when it is installed again, the leak is %v old", now)
	}

	m.run("apt-get", "purge", "-y", "halfclose")
	for _, path := range []string{"/var/lib/halfclose", "/run/halfclose", "/etc/halfclose", "/etc/default/halfclose", "/usr/lib/halfclose"} {
		if m.exists(path) {
			t.Errorf("after purge, %s exists", path)
		}
	}
	if got := m.dpkg(); got != "" {
		t.Errorf("after purge, the package's status is %q", got)
	}
	m.podsWork("after purge", false)
	m.stopPod("kept")
}

func TestADebIsRemovedAlthoughTheEntryCannotBe(t *testing.T) {
	t.Parallel()
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	m.run("sh", "-ec", "dpkg -i "+deb("older"))
	m.run("halfclose", "install")
	m.startPod("web")
	m.run("mount", "--bind", "-o", "ro", "/etc/cni/net.d", "/etc/cni/net.d")
	m.run("mount", "-o", "remount,bind,ro", "/etc/cni/net.d")
	out := m.run("dpkg", "--remove", "halfclose")
	if got := m.dpkg(); got != "rc" || !m.isListed() || !strings.Contains(out, "remove the object with the type halfclose") {
		t.Errorf("the status is %q, and dpkg prints %s", got, out)
	}
	m.podsWork("with an entry and no command", true) // the plugin is a copy
	m.stopPod("web")
	m.run("dpkg", "--purge", "halfclose")
	if got := m.dpkg(); got != "" {
		t.Errorf("after purge, the package's status is %q", got)
	}
	m.run("umount", "/etc/cni/net.d")
	m.podsWork("after purge", true)

	// The plugin, which is still listed, has written records since: the node is new to the package still.
	m.run("sh", "-ec", "dpkg -i "+deb("older"))
	if mode := m.status().Mode; mode.Effective != policy.Observe {
		t.Errorf("installed again, the reaper has the mode %+v", mode)
	}
	m.podsWork("installed again", true)
}

func TestAnUpgradeKeepsWhatTheAdministratorHasChanged(t *testing.T) {
	t.Parallel()
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	m.run("sh", "-ec", "dpkg -i "+deb("older"))
	m.run("systemctl", "disable", "--now", "halfclose")
	m.run("sh", "-ec", "echo HALFCLOSE_MIN_GRACE=7s >>/etc/default/halfclose")
	m.run("sh", "-ec", "dpkg -i "+deb("newer"))
	if enabled := m.property("UnitFileState"); enabled != "disabled" {
		t.Errorf("a disabled service is %s after the upgrade", enabled)
	}
	if !strings.Contains(m.read("/etc/default/halfclose"), "\nHALFCLOSE_MIN_GRACE=7s\n") {
		t.Errorf("the file of defaults is %s", m.read("/etc/default/halfclose"))
	}
	// A reaper that the plugin started exits with the package, also where the service cannot start.
	m.run("systemctl", "mask", "--now", "halfclose")
	m.run("halfclose", "install")
	m.startPod("web")
	nstest.Eventually(t, testnode.Patience, "the plugin has started a reaper", func() bool {
		s, err := m.node().Client.Status(t.Context())
		return err == nil && s.Holder.StartedBy == api.ByPlugin
	})
	m.run("apt-get", "purge", "-y", "halfclose")
	if _, err := m.node().Client.Status(t.Context()); err == nil {
		t.Error("after purge, a reaper runs")
	}
	m.podsWork("after purge", false)
	m.stopPod("web")
}

func TestAPurgeLeavesTheFilesOfAnotherReaper(t *testing.T) {
	t.Parallel()
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	m.run("mkdir", "/var/lib/halfclose") // as the first attempt of an installation that failed
	m.run("sh", "-ec", "dpkg -i "+deb("older"))
	if mode := m.status().Mode; mode.Effective != policy.Observe || mode.Switch == nil {
		t.Errorf("after a second attempt, the mode is %+v", mode)
	}
	m.run("systemctl", "stop", "halfclose")
	m.run("cp", "/usr/bin/halfclose", "/usr/local/bin/other")
	m.run("systemd-run", "--unit=other", "/usr/local/bin/other", "reaper")
	nstest.Eventually(t, testnode.Patience, "the other reaper runs", func() bool {
		_, err := m.node().Client.Status(t.Context())
		return err == nil
	})
	out := m.run("dpkg", "--purge", "halfclose")
	if got := m.dpkg(); got != "" || !strings.Contains(out, "another reaper runs") {
		t.Errorf("after purge, the package's status is %q, and dpkg prints %s", got, out)
	}
	if mode := m.status().Mode; mode.Effective != policy.Observe {
		t.Errorf("after purge, the other reaper has the mode %+v", mode)
	}
}

func TestATarballBelowUsrLocalInstallsThePlugin(t *testing.T) {
	t.Parallel()
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	m.run("sh", "-ec", "tar -C /usr/local -xzf "+packagesDir+"/older/halfclose_*.tar.gz")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "enable", "--now", "halfclose")
	m.run("halfclose", "install")
	m.podsWork("with the tarball", true)
	if s := m.status(); s.Version.Version != "v"+olderVersion || s.Holder.StartedBy != api.BySystemd {
		t.Errorf("the reaper is %v, of version %v", s.Holder, s.Version)
	}
	if out, code := m.try("halfclose", "doctor"); code != 0 {
		t.Errorf("halfclose doctor: exit code %d: %s", code, out)
	}
}

func TestAnRPMIsInstalledUpgradedAndErasedWhilePodsStartAndStop(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed: run apt-get install rpm") // not a failure in CI, which builds no rpm
	}
	m := newPackagedMachine(t)
	m.boot()
	m.allowServices()
	rpm := func(args string) { m.run("sh", "-ec", "rpm --nodeps --force-debian "+args) }
	older, newer := packagesDir+"/older/halfclose-*.rpm", packagesDir+"/newer/halfclose-*.rpm"
	rpm("-i " + older)
	m.run("systemctl", "enable", "--now", "halfclose")
	if mode := m.status().Mode; mode.Effective != policy.Observe || mode.Switch == nil {
		t.Errorf("a new installation has the mode %+v", mode)
	}
	files := strings.Fields(m.run("rpm", "-ql", "halfclose"))
	for file := range strings.FieldsSeq(m.run("sh", "-ec", "dpkg-deb --fsys-tarfile "+deb("older")+" | tar -t | grep -v /$")) {
		file = strings.TrimPrefix(file, ".")
		debianOnly := slices.Contains([]string{"copyright", "changelog.gz"}, filepath.Base(file)) || strings.Contains(file, "/lintian/")
		if slices.Contains(files, file) == debianOnly {
			t.Errorf("%s is a file of the deb, and of the rpm: %v", file, !debianOnly)
		}
	}
	m.run("halfclose", "install")
	m.startPod("web")
	m.podsWork("after the installation", true)
	pid := m.mainPID()
	rpm("-U " + newer)
	m.active(pid)
	if got := m.pluginVersion(); got != newerVersion || !m.isListed() {
		t.Errorf("after the upgrade, runtimes call the plugin of version %s, and the network is %s", got, m.read("/etc/cni/net.d/10-net.conflist"))
	}
	m.podsWork("after the upgrade", true)
	rpm("-e halfclose")
	if m.isListed() || m.exists("/usr/bin/halfclose") || m.exists("/etc/systemd/system/multi-user.target.wants/halfclose.service") {
		t.Errorf("after the removal, the network is %s", m.read("/etc/cni/net.d/10-net.conflist"))
	}
	if _, err := m.node().Client.Status(t.Context()); err == nil {
		t.Error("after the removal, a reaper runs")
	}
	m.podsWork("after the removal", false)
	m.stopPod("web")
}
