// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/register"
	"github.com/halfclose/halfclose/pkg/state"
)

// manualRecord returns a registration. cookie identifies the namespace.
func manualRecord(name, path string, cookie uint64) state.Record {
	return state.Record{
		Network: state.ManualNetwork, Attachment: state.ManualAttachment(name), Boot: "this",
		Netns: state.Netns{Path: path, Identity: netns.Identity{Cookie: cookie, Dev: 4, Inode: 1000 + cookie}},
	}
}

func cniRecord(name, path string, cookie uint64) state.Record {
	r := manualRecord(name, path, cookie)
	r.Network, r.IfName = "pods", "eth0"
	r.Pod = state.Pod{Namespace: "shop", Name: name}
	return r
}

func ids(records []state.Record) []string {
	list := []string{}
	for _, r := range records {
		list = append(list, r.ContainerID)
	}
	return list
}

func TestRegistrationsAreCompleted(t *testing.T) {
	e := &env{stateDir: t.TempDir()}
	rec := manualRecord("web", "/run/netns/web", 1)
	other := cniRecord("webpod", "/run/netns/x", 2)
	for _, r := range []state.Record{rec, other} {
		if err := e.store().Put(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.completeRegistered(t.Context(), "we"); !slices.Equal(got, []string{"web\t/run/netns/web"}) {
		t.Errorf("registrations are completed with %q", got)
	}
	code, stdout, _ := call(t, map[string]string{"HALFCLOSE_STATE_DIR": e.stateDir}, "__complete", "unregister", "w")
	if code != 0 || !strings.HasPrefix(stdout, "web\t/run/netns/web\n") {
		t.Errorf("the shell gets %q", stdout)
	}
}

func TestRegistrationsArePrinted(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	rec := manualRecord("web", "/run/netns/web", 1)
	layer, problems := policy.ParseLayer([]byte(`{"mode": "observe", "finWait2Grace": "never", "probeCount": 3,
		"exempt": [{"localPorts": "22"}, {"peers": "10.0.0.0/8"}],
		"rules": [{"match": {"role": "client", "peerPorts": "443"}, "grace": "2m", "above": 100}, {"match": {"commands": ["postgres"]}, "mode": "off"}]}`),
		state.SourceRegister)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	rec.Version, rec.Layers, rec.Time = state.Version, policy.Layers{Network: layer, PodOverrides: policy.OverridesNone}, at
	flag := func(key string) string { return "--flag-of-" + key }
	r := registration{
		Record: rec, Replaced: []string{"pid-4711"}, SharedWith: []state.Attachment{{ContainerID: "pod", IfName: "eth0"}},
		ReaperRunning: true, Notes: []string{"something of " + apitest.Hostile},
	}
	golden.Text(t, "register", shown(t, func(e *env) error { e.err = e.Out; return e.printRegistration(r, flag) }))
	apitest.CheckJSON(t, shown(t, func(e *env) error { e.Format = printer.JSON; return e.printRegistration(r, flag) }), map[string]any{
		"record.version": 2.0, "record.containerID": "web", "record.ifname": "manual", "record.network": "(manual)", "record.boot": "this",
		"record.netns.path": "/run/netns/web", "record.netns.cookie": 1.0, "record.netns.dev": 4.0, "record.netns.inode": 1001.0,
		"record.time": "2026-01-02T03:04:05.000000006Z", "record.layers.source": "halfclose register", "record.layers.podOverrides": "none",
		"record.layers.network.mode": "observe", "record.layers.network.finWait2Grace": "never", "record.layers.network.probeCount": 3.0,
		"record.layers.network.exempt.0.localPorts": "22", "record.layers.network.exempt.1.peers": "10.0.0.0/8",
		"record.layers.network.rules.0.match.role": "client", "record.layers.network.rules.0.match.peerPorts": "443",
		"record.layers.network.rules.0.grace": "2m", "record.layers.network.rules.0.above": 100.0,
		"record.layers.network.rules.1.match.commands.0": "postgres", "record.layers.network.rules.1.mode": "off",
		"replaced.0": "pid-4711", "sharedWith.0.containerID": "pod", "sharedWith.0.ifname": "eth0", "reaperRunning": true,
		"notes.0": "something of " + apitest.Hostile,
	})
	u := unregistration{Name: "web", Path: "/run/netns/web", StillRecorded: r.SharedWith, Notes: r.Notes}
	if got, want := shown(t, func(e *env) error { e.err = e.Out; return e.printUnregistration(u) }),
		"unregistered web: /run/netns/web\nhalfclose: note: something of "+apitest.Harmless+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	apitest.CheckJSON(t, shown(t, func(e *env) error { e.Format = printer.JSON; return e.printUnregistration(u) }), map[string]any{
		"name": "web", "path": "/run/netns/web", "stillRecorded.0.containerID": "pod", "stillRecorded.0.ifname": "eth0", "notes.0": "something of " + apitest.Hostile,
	})
}

// recordsIn reads the records of a state directory.
func recordsIn(t *testing.T, dir string) []state.Record {
	t.Helper()
	listing, err := state.New(dir).List(t.Context())
	if err != nil || len(listing.Problems) > 0 {
		t.Fatal(err, listing.Problems)
	}
	return listing.Records
}

func TestRegisterAndUnregisterARealNamespace(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	dir := filepath.Join(t.TempDir(), "state")
	set := map[string]string{"HALFCLOSE_STATE_DIR": dir}
	run := func(code int, want string, args ...string) {
		t.Helper()
		got, stdout, stderr := call(t, set, args...)
		if got != code || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%q: exit code %d, want %d; %q is not in\n%s%s", args, got, code, want, stdout, stderr)
		}
	}
	run(cmdline.Failure, `"web" is not registered, and neither is any other namespace`, "unregister", "web")
	if _, err := os.Stat(dir); err == nil {
		t.Error("unregister created a state directory")
	}
	run(cmdline.Success, `no reaper is running: start one with "halfclose reaper --state-dir `+dir+`"`, "register", ns.Path(), "--name", "web", "--grace", "2m")
	records := recordsIn(t, dir)
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	rec := records[0]
	id, err := netns.Identify(ns.Path())
	boot, bootErr := netns.BootID()
	if err != nil || bootErr != nil {
		t.Fatal(err, bootErr)
	}
	if !rec.Manual() || rec.Netns != (state.Netns{Path: ns.Path(), Identity: id}) || rec.Boot != boot || rec.Attachment != state.ManualAttachment("web") ||
		rec.Version != state.Version || time.Since(rec.Time) > time.Minute {
		t.Errorf("the record is %+v", rec)
	}
	if p := rec.Layers.Resolve(0).Policies[0]; p.CloseWaitGrace != policy.Patience(2*time.Minute) || p.Sources["finWait2Grace"] != state.SourceRegister {
		t.Errorf("the policy is %+v", p)
	}
	run(cmdline.Success, "registered web again", "register", ns.Path(), "--name", "web", "--mode", "observe")
	run(cmdline.Failure, "web is the name of another registration", "register", other.Path(), "--name", "web")
	run(cmdline.Success, "replaces web", "register", ns.Path(), "--name", "site")
	run(cmdline.Success, "the registration lasts as long as process "+strconv.Itoa(os.Getpid()), "register", other.Path())
	if got := ids(recordsIn(t, dir)); len(got) != 2 || !slices.Contains(got, "site") || !strings.HasPrefix(register.NameOf(other.Path()), "pid-") {
		t.Errorf("registered are %v", got)
	}

	// An unreadable record of another attachment is reported; that of the registration is replaced.
	held, own := "pod@eth0:"+state.KeyOf(id).String()+".json", "site@manual:"+state.KeyOf(id).String()+".json"
	for _, file := range []string{held, own} {
		if err := os.WriteFile(filepath.Join(dir, "attachments", file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(cmdline.Success, "this namespace is only observed as long as \""+held+"\" is in "+dir, "register", ns.Path(), "--name", "site")
	if err := os.Remove(filepath.Join(dir, "attachments", held)); err != nil {
		t.Fatal(err)
	}

	// unregister keeps records of CNI.
	byCNI := cniRecord("pod", ns.Path(), 1)
	byCNI.Netns.Identity, byCNI.Boot = id, boot
	if err := state.New(dir).Put(byCNI); err != nil {
		t.Fatal(err)
	}
	run(cmdline.Success, "note: CNI has recorded this namespace too (shop/pod): each socket gets the more conservative verdict of both policies", "register", ns.Path(), "--name", "site")
	run(cmdline.Success, "note: CNI has recorded this namespace too (shop/pod): that record stays until its DEL", "unregister", ns.Path())
	run(cmdline.Failure, "its DEL removes the record", "unregister", ns.Path())

	// A registration of a dead namespace is removed by its name.
	name := register.NameOf(other.Path())
	other.Close()
	code, stdout, stderr := call(t, set, "unregister", name, "--output", "json")
	var u unregistration
	if err := json.Unmarshal([]byte(stdout), &u); err != nil || code != 0 || u.Name != name {
		t.Errorf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if got := ids(recordsIn(t, dir)); !slices.Equal(got, []string{"pod"}) {
		t.Errorf("left are %v", got)
	}
}

func TestRegisteringAgainKeepsWhatIsNotGiven(t *testing.T) {
	ns := nstest.New(t)
	dir := filepath.Join(t.TempDir(), "state")
	set := map[string]string{"HALFCLOSE_STATE_DIR": dir}
	const exempt = `[{"peerPorts": "5432"}]`
	for _, tt := range []struct {
		name, pod                    string
		args                         []string
		closeWait, finWait2, pending string
		exempt                       bool
	}{
		{"the first time", "cart", []string{"--name", "cart", "--close-wait-grace", "2m", "--exempt", exempt}, "2m", "1h", "2h", true},
		{"with another value", "cart", []string{"--pending-grace", "3h"}, "2m", "1h", "3h", true},
		{"with a new name, in a Kubernetes namespace", "shop/cart-0", []string{"--name", "shop/cart-0"}, "2m", "1h", "3h", true},
		{"with a grace, which hides that of one state", "shop/cart-0", []string{"--grace", "5m"}, "5m", "5m", "3h", true},
		{"with a grace of one state beside it", "shop/cart-0", []string{"--fin-wait2-grace", "6m"}, "5m", "6m", "3h", true},
		{"with --reset", "cart", []string{"--reset", "--name", "cart"}, "1h", "1h", "2h", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, set, append([]string{"register", ns.Path()}, tt.args...)...)
			records := recordsIn(t, dir)
			if code != cmdline.Success || len(records) != 1 {
				t.Fatalf("exit code %d, %d records\n%s%s", code, len(records), stdout, stderr)
			}
			p := records[0].Layers.Resolve(0).Policies[0]
			if p.CloseWaitGrace.String() != tt.closeWait || p.FinWait2Grace.String() != tt.finWait2 || p.PendingGrace.String() != tt.pending ||
				len(p.Exempt) > 0 != tt.exempt {
				t.Errorf("the policy is %+v", p)
			}
			if !strings.HasPrefix(stdout, "registered "+tt.pod) {
				t.Errorf("printed is\n%s", stdout)
			}
		})
	}
	if code, stdout, stderr := call(t, set, "register", ns.Path(), "--grace", "7m", "--name", "shop/cart-0"); code != cmdline.Success || strings.Contains(stdout, "earlier") {
		t.Errorf("after --reset: exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, stdout, _ := call(t, set, "register", ns.Path(), "--mode", "observe"); strings.Count(stdout, "7m        the earlier registration\n") != 2 || !strings.Contains(stdout, "observe   --mode\n") {
		t.Errorf("the sources are\n%s", stdout)
	}
	if code, stdout, stderr := call(t, set, "unregister", "shop/cart-0"); code != cmdline.Success || !strings.HasPrefix(stdout, "unregistered shop/cart-0: ") {
		t.Errorf("by the pod's name: exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestRegisteringTheHostsNamespaceNeedsAFlag(t *testing.T) {
	nstest.New(t) // skips without the privilege
	dir := t.TempDir()
	set := map[string]string{"HALFCLOSE_STATE_DIR": dir}
	for path, want := range map[string]string{
		register.ProcPath(strconv.Itoa(os.Getpid())): "is this command's own: use --allow-host-netns to register it, here and for the reaper",
	} {
		code, stdout, stderr := call(t, set, "register", path)
		if code != cmdline.Failure || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s%s", path, code, stdout, stderr)
		}
	}
	if got := recordsIn(t, dir); len(got) > 0 {
		t.Errorf("recorded are %v", got)
	}
	code, stdout, stderr := call(t, set, "register", register.ProcPath(strconv.Itoa(os.Getpid())), "--allow-host-netns", "--mode", "observe")
	if code != 0 || !strings.Contains(stderr, "--allow-host-netns") {
		t.Errorf("with the flag: exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestRegisterRejectsInvalidArguments(t *testing.T) {
	t.Parallel()
	nstest.New(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ns := nstest.New(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing at the path", []string{"/nowhere"}, cmdline.Failure, "no such file"},
		{"no namespace at the path", []string{file}, cmdline.Failure, "not a network namespace"},
		{"another kind of namespace", []string{"/proc/" + strconv.Itoa(os.Getpid()) + "/ns/uts"}, cmdline.Failure, "another type (uts)"},
		{"no such process", []string{"4194305"}, cmdline.Failure, "no process 4194305"},
		{"no argument", nil, cmdline.Usage, "want one NETNS"},
		{"two arguments", []string{"a", "b"}, cmdline.Usage, "not 2 arguments"},
		{"an invalid name", []string{ns.Path(), "--name", "a/b/c"}, cmdline.Usage, `--name "a/b/c": want NAME or NAMESPACE/NAME`},
		{"an empty name", []string{ns.Path(), "--name", ""}, cmdline.Usage, `--name "": want NAME`},
		{"a name over the limit", []string{ns.Path(), "--name", strings.Repeat("x", 250)}, cmdline.Usage, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": dir}, append([]string{"register"}, tt.args...)...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d; stdout %q; %q is not in %q", code, tt.code, stdout, tt.want, stderr)
			}
		})
	}
	if got := recordsIn(t, dir); len(got) > 0 {
		t.Errorf("recorded are %v", got)
	}
}
