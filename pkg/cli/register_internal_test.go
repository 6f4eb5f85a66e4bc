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
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// manualRecord is a registration by hand; cookie identifies the netns.
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

func TestARegistrationTakesThePlaceOfThoseOfItsNamespace(t *testing.T) {
	old := manualRecord("web", "/run/netns/web", 9)
	old.Boot = "before"
	for _, tt := range []struct {
		name             string
		others           []state.Record
		dead             bool // no other's namespace is there
		replaced, shared []string
		says             string
	}{
		{name: "there is none", others: []state.Record{manualRecord("db", "/run/netns/db", 2), cniRecord("x", "/run/netns/x", 3)}},
		{name: "the same namespace", others: []state.Record{manualRecord("web", "/run/netns/web", 1)}, replaced: []string{"web"}},
		{name: "by another name and path", others: []state.Record{manualRecord("pid-1", "/proc/1/ns/net", 1)}, replaced: []string{"pid-1"}},
		{name: "what was at the path before", others: []state.Record{manualRecord("other", "/run/netns/web", 2)}, dead: true, replaced: []string{"other"}},
		{name: "of another boot", others: []state.Record{old}, replaced: []string{"web"}},
		{name: "another namespace of the name", others: []state.Record{manualRecord("web", "/srv/web", 2)}, says: "web is the name of another registration, of /srv/web: give this one another with --name"},
		{name: "that is gone", others: []state.Record{manualRecord("web", "/srv/web", 2)}, dead: true, replaced: []string{"web"}},
		{name: "CNI has it too", others: []state.Record{cniRecord("pod", "/run/netns/cni-1", 1)}, shared: []string{"pod"}},
		{name: "CNI has it in another boot", others: []state.Record{func() state.Record { r := cniRecord("pod", "/x", 1); r.Boot = "before"; return r }()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := compare(tt.others, manualRecord("web", "/run/netns/web", 1), func(state.Record) bool { return !tt.dead })
			if tt.says != "" {
				if err == nil || err.Error() != tt.says {
					t.Errorf("got %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil || !slices.Equal(ids(got.replaced), tt.replaced) || !slices.Equal(ids(got.shared), tt.shared) {
				t.Errorf("replaced %v, shared %v, %v; want %v and %v", ids(got.replaced), ids(got.shared), err, tt.replaced, tt.shared)
			}
		})
	}
}

func TestRegistrationAsPrinted(t *testing.T) {
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
	golden.Text(t, "register", shown(t, func(e *env) error { e.err = e.out; return e.printRegistration(r, flag) }))
	golden.Text(t, "register-json", shown(t, func(e *env) error { e.output = outputJSON; return e.printRegistration(r, flag) }))
	u := unregistration{Name: "web", Path: "/run/netns/web", StillRecorded: r.SharedWith, Notes: r.Notes}
	golden.Text(t, "unregister", shown(t, func(e *env) error { e.err = e.out; return e.printUnregistration(u) }))
	golden.Text(t, "unregister-json", shown(t, func(e *env) error { e.output = outputJSON; return e.printUnregistration(u) }))
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
	run := func(code int, says string, args ...string) {
		t.Helper()
		got, stdout, stderr := call(t, set, args...)
		if got != code || !strings.Contains(stdout+stderr, says) {
			t.Errorf("%q: exit code %d, want %d; %q is not in\n%s%s", args, got, code, says, stdout, stderr)
		}
	}
	run(exitFailure, `"web" is not registered, and nothing is`, "unregister", "web")
	if _, err := os.Stat(dir); err == nil {
		t.Error("unregister made a state directory")
	}
	run(exitSuccess, `no reaper is running: start one with "halfclose reaper --state-dir `+dir+`"`, "register", ns.Path(), "--name", "web", "--grace", "2m")
	records := recordsIn(t, dir)
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	rec := records[0]
	var id netns.Identity
	h, err := netns.Open(ns.Path())
	if err == nil {
		id, err = h.Identify()
		h.Close()
	}
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
	run(exitSuccess, "registered web again", "register", ns.Path(), "--name", "web", "--mode", "observe")
	run(exitFailure, "web is the name of another registration", "register", other.Path(), "--name", "web")
	run(exitSuccess, "in place of web", "register", ns.Path(), "--name", "site")
	run(exitSuccess, "the registration lasts as long as process "+strconv.Itoa(os.Getpid()), "register", other.Path())
	if got := ids(recordsIn(t, dir)); len(got) != 2 || !slices.Contains(got, "site") || !strings.HasPrefix(nameOf(other.Path()), "pid-") {
		t.Errorf("registered are %v", got)
	}

	// A file that cannot be read, of another attachment of the namespace, is reported; the registration's own is replaced.
	held, own := "pod@eth0:"+state.KeyOf(id).String()+".json", "site@manual:"+state.KeyOf(id).String()+".json"
	for _, file := range []string{held, own} {
		if err := os.WriteFile(filepath.Join(dir, "attachments", file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(exitSuccess, "this namespace is only observed while \""+held+"\" is in "+dir, "register", ns.Path(), "--name", "site")
	if err := os.Remove(filepath.Join(dir, "attachments", held)); err != nil {
		t.Fatal(err)
	}

	// What CNI has recorded is not for unregister to take away.
	byCNI := cniRecord("pod", ns.Path(), 1)
	byCNI.Netns.Identity, byCNI.Boot = id, boot
	if err := state.New(dir).Put(byCNI); err != nil {
		t.Fatal(err)
	}
	run(exitSuccess, "note: CNI has recorded this namespace too (shop/pod): each socket gets the more conservative verdict of both policies", "register", ns.Path(), "--name", "site")
	run(exitSuccess, "note: CNI has recorded this namespace too (shop/pod): that stays until its DEL", "unregister", ns.Path())
	run(exitFailure, "its DEL is what ends that", "unregister", ns.Path())

	// A namespace that is gone can be unregistered by the name of its registration.
	name := nameOf(other.Path())
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

func TestTheHostsOwnNamespaceIsNotRegisteredByAccident(t *testing.T) {
	nstest.New(t) // the privilege
	dir := t.TempDir()
	set := map[string]string{"HALFCLOSE_STATE_DIR": dir}
	for path, says := range map[string]string{
		procPath(strconv.Itoa(os.Getpid())): "is this command's own: --allow-host-netns registers it, and the reaper needs that flag too",
	} {
		code, stdout, stderr := call(t, set, "register", path)
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d: %s%s", path, code, stdout, stderr)
		}
	}
	if got := recordsIn(t, dir); len(got) > 0 {
		t.Errorf("recorded are %v", got)
	}
	code, stdout, stderr := call(t, set, "register", procPath(strconv.Itoa(os.Getpid())), "--allow-host-netns", "--mode", "observe")
	if code != 0 || !strings.Contains(stderr, "--allow-host-netns") {
		t.Errorf("with the flag: exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestRegisterRefusesWhatItCannotRecord(t *testing.T) {
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
		says string
	}{
		{"nothing at the path", []string{"/nowhere"}, exitFailure, "no such file"},
		{"no namespace at the path", []string{file}, exitFailure, "not a network namespace"},
		{"another kind of namespace", []string{"/proc/" + strconv.Itoa(os.Getpid()) + "/ns/uts"}, exitFailure, "another type (uts)"},
		{"no such process", []string{"4194305"}, exitFailure, "no process 4194305 runs here"},
		{"no argument", nil, exitUsage, "want one NETNS"},
		{"two arguments", []string{"a", "b"}, exitUsage, "not 2 arguments"},
		{"a name that cannot be", []string{ns.Path(), "--name", "a/b"}, exitUsage, `not "a/b"`},
		{"no name at all", []string{ns.Path(), "--name", ""}, exitUsage, "--name is letters"},
		{"a name that is too long", []string{ns.Path(), "--name", strings.Repeat("x", 250)}, exitUsage, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": dir}, append([]string{"register"}, tt.args...)...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.says) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d; stdout %q; %q is not in %q", code, tt.code, stdout, tt.says, stderr)
			}
		})
	}
	if got := recordsIn(t, dir); len(got) > 0 {
		t.Errorf("recorded are %v", got)
	}
}
