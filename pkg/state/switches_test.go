// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web  = state.Scope{Namespace: "shop", Pod: "web"}
	shop = state.Scope{Namespace: "shop"}
)

// loadSwitches returns the switches, which must be readable.
func loadSwitches(t *testing.T, path string) state.Switches {
	t.Helper()
	s, err := state.LoadSwitches(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func storeSwitch(t *testing.T, path string, sw state.Switch) {
	t.Helper()
	if err := state.StoreSwitch(path, sw); err != nil {
		t.Fatal(err)
	}
}

func TestASwitchOfAPodLeavesTheOthersAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	ofWeb := state.Switch{Scope: web, Mode: policy.Observe, Who: "alice", When: noon, Until: time.Now().UTC().Round(time.Second).Add(time.Hour), Reason: "INC-7"}
	ofShop := state.Switch{Scope: shop, Mode: policy.Observe, Who: "bob", When: noon}
	ofRegistration := state.Switch{Scope: state.Scope{ID: "cart"}, Mode: policy.Observe, Who: "bob", When: noon}
	node := state.Switch{Mode: policy.Observe, Who: "carol", When: noon}

	storeSwitch(t, path, ofWeb)
	if _, set, err := state.LoadSwitch(path); set || err != nil {
		t.Errorf("the node's switch is set (%v, %v)", set, err)
	}
	for _, sw := range []state.Switch{ofShop, node, ofRegistration} {
		storeSwitch(t, path, sw)
	}
	want := state.Switches{Node: &node, Scoped: []state.Switch{ofRegistration, ofShop, ofWeb}}
	if diff := compare(want, loadSwitches(t, path)); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}

	lifted := state.Switch{Scope: web, Mode: policy.Destroy, Who: "dave", When: noon}
	storeSwitch(t, path, lifted)
	want.Scoped = want.Scoped[:2]
	if diff := compare(want, loadSwitches(t, path)); diff != "" {
		t.Errorf("without the pod's (-want +got):\n%s", diff)
	}
	for _, scope := range []state.Scope{shop, ofRegistration.Scope} {
		storeSwitch(t, path, state.Switch{Scope: scope, Mode: policy.Destroy, Who: "dave", When: noon})
	}
	if diff := compare(state.Switches{Node: &node}, loadSwitches(t, path)); diff != "" {
		t.Errorf("the node's alone (-want +got):\n%s", diff)
	}
}

func TestTheLastSwitchOfAPodCanBeLifted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	storeSwitch(t, path, state.Switch{Scope: web, Mode: policy.Observe})
	storeSwitch(t, path, state.Switch{Scope: web, Mode: policy.Destroy})
	if diff := compare(state.Switches{}, loadSwitches(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheNextWriteRemovesSwitchesThatHaveEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	past, future := time.Now().UTC().Add(-time.Minute).Round(time.Second), time.Now().UTC().Add(time.Hour).Round(time.Second)
	content := fmt.Sprintf(`{"mode": "observe", "when": %q, "until": %q, "switches": [
		{"namespace": "ended", "mode": "observe", "when": %[1]q, "until": %[2]q},
		{"namespace": "lasting", "mode": "observe", "when": %[1]q, "until": %[3]q}]}`,
		noon.AddDate(-1, 0, 0).Format(time.RFC3339), past.Format(time.RFC3339), future.Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := loadSwitches(t, path); s.Node == nil || len(s.Scoped) != 2 {
		t.Fatalf("the file has %+v", s)
	}
	storeSwitch(t, path, state.Switch{Scope: web, Mode: policy.Observe})
	s := loadSwitches(t, path)
	if s.Node != nil || len(s.Scoped) != 2 || s.Scoped[0].Namespace != "lasting" || s.Scoped[1].Scope != web {
		t.Errorf("the file has %+v", s)
	}
}

func TestASwitchEndsByTheWallClock(t *testing.T) {
	timed := state.Switch{Mode: policy.Observe, When: noon, Until: noon.Add(time.Hour)}
	for _, tt := range []struct {
		name string
		sw   state.Switch
		now  time.Time
		want bool
	}{
		{"without an end", state.Switch{When: noon}, noon.AddDate(10, 0, 0), true},
		{"when it is set", timed, noon, true},
		{"just before the end", timed, noon.Add(time.Hour - 1), true},
		{"at the end", timed, noon.Add(time.Hour), false},
		{"long after the end", timed, noon.AddDate(1, 0, 0), false},
		{"by a clock before the time of writing", timed, time.Unix(0, 0), true},
		{"by such a clock, if the end is before the time of writing", state.Switch{When: noon, Until: noon.Add(-time.Hour)}, noon.Add(-time.Minute), true},
		{"with an end before the time of writing", state.Switch{When: noon, Until: noon.Add(-time.Hour)}, noon, false},
	} {
		if got := tt.sw.InForce(tt.now); got != tt.want {
			t.Errorf("%s: in force %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestASwitchCapsTheContainersInItsScope(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	pod := state.Pod{Namespace: "shop", Name: "web", UID: "1"}
	s := state.Switches{Scoped: []state.Switch{
		{Scope: state.Scope{ID: id[:12]}},
		{Scope: state.Scope{ID: id}},
		{Scope: state.Scope{ID: "web"}},
		{Scope: shop},
		{Scope: state.Scope{Namespace: "shop", Pod: "we"}},
		{Scope: web},
		{Scope: state.Scope{Namespace: "shop", Pod: "web-1"}},
	}}
	for name, tt := range map[string]struct {
		pod  state.Pod
		id   string
		want []string
	}{
		"a pod":                             {pod, "other", []string{"namespace shop", "pod shop/web"}},
		"a pod of another namespace":        {state.Pod{Namespace: "web", Name: "shop"}, "", nil},
		"a pod whose namespace is a prefix": {state.Pod{Namespace: "sho", Name: "web"}, "", nil},
		"a container":                       {state.Pod{}, id, []string{"container " + id, "container " + id[:12]}},
		"a container by its shortened ID":   {state.Pod{}, id[:12] + "ffff", []string{"container " + id[:12]}},
		"a registration":                    {state.Pod{}, "web", []string{"container web"}},
		"a container without a known pod":   {state.Pod{}, "", nil},
		"a pod without a name":              {state.Pod{Namespace: "shop"}, "", []string{"namespace shop"}},
		"a pod and its container":           {pod, id, []string{"namespace shop", "pod shop/web", "container " + id, "container " + id[:12]}},
	} {
		var got []string
		for _, sw := range s.For(tt.pod, tt.id) {
			got = append(got, sw.ScopeName())
			if !sw.Covers(tt.pod, tt.id) {
				t.Errorf("%s: %s does not cover it", name, sw.ScopeName())
			}
		}
		if diff := compare(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Each of these counts as observe for the whole node: the caller gets an error.
func TestAnInvalidSwitchOfAPodIsAnError(t *testing.T) {
	many := make([]string, state.MaxScoped+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"namespace":"n%d","mode":"observe"}`, i)
	}
	for name, text := range map[string]string{
		"of no mode":                    `{"switches":[{"namespace":"shop"}]}`,
		"of no scope":                   `{"switches":[{"mode":"observe"}]}`,
		"of a pod without a namespace":  `{"switches":[{"pod":"web","mode":"observe"}]}`,
		"with two scopes":               `{"switches":[{"namespace":"shop","id":"web","mode":"observe"}]}`,
		"with a slash":                  `{"switches":[{"namespace":"shop/web","mode":"observe"}]}`,
		"with a control character":      `{"switches":[{"namespace":"sh\nop","mode":"observe"}]}`,
		"with an unknown key":           `{"switches":[{"namespace":"shop","pods":"web-*","mode":"observe"}]}`,
		"with a key twice":              `{"switches":[{"namespace":"shop","mode":"observe","mode":"destroy"}]}`,
		"with a wrong end":              `{"switches":[{"namespace":"shop","mode":"observe","until":"tomorrow"}]}`,
		"twice":                         `{"switches":[{"namespace":"shop","mode":"observe"},{"namespace":"shop","mode":"off"}]}`,
		"that is no object":             `{"switches":["shop/web"]}`,
		"in no list":                    `{"switches":{"namespace":"shop","mode":"observe"}}`,
		"null":                          `{"switches":null}`,
		"beside an author without mode": `{"who":"alice","switches":[]}`,
		"beside an unknown key":         `{"later":1,"switches":[]}`,
		"beside observe that ends, with an unknown key": `{"mode":"observe","until":"2026-03-01T12:00:00Z","later":1}`,
		"beside the node's, as its scope":               `{"mode":"observe","namespace":"shop","until":"2026-03-01T12:00:00Z"}`,
		"too many":                                      `{"switches":[` + strings.Join(many, ",") + `]}`,
	} {
		path := filepath.Join(t.TempDir(), "mode")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := state.LoadSwitches(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
		// A narrower switch would be less conservative than the file.
		if err := state.StoreSwitch(path, state.Switch{Scope: web, Mode: policy.Observe}); err == nil {
			t.Errorf("%s: the switch of a pod replaced it", name)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != text {
			t.Errorf("%s: the file has changed: %v", name, err)
		}
		storeSwitch(t, path, state.Switch{Mode: policy.Observe})
		if _, set, err := state.LoadSwitch(path); !set || err != nil {
			t.Errorf("%s: the node's switch did not replace it: %v", name, err)
		}
	}
}

func TestAFileWithAMistakeKeepsWhatCanBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	if err := os.WriteFile(path, []byte(`{"mode":"off","switches":[{"namespace":"a"},{"namespace":"b","mode":"off"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := state.LoadSwitches(path)
	if err == nil || s.Node == nil || s.Node.Mode != policy.Off || len(s.Scoped) != 1 || s.Scoped[0].Mode != policy.Off {
		t.Errorf("read %+v, %v", s, err)
	}
	// Also once the node's switch, which replaces the damaged one, is lifted.
	for _, m := range []policy.Mode{policy.Observe, policy.Destroy} {
		storeSwitch(t, path, state.Switch{Mode: m})
		if s := loadSwitches(t, path); s.Node == nil || s.Node.Mode != m || len(s.Scoped) != 1 || s.Scoped[0].Mode != policy.Off {
			t.Errorf("after mode %v: %+v", m, s)
		}
	}
}

func TestTheNumberOfSwitchesIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	var list []map[string]string
	for i := range state.MaxScoped {
		list = append(list, map[string]string{"namespace": fmt.Sprintf("n%d", i), "mode": "observe"})
	}
	data, err := json.Marshal(map[string]any{"switches": list})
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := state.StoreSwitch(path, state.Switch{Scope: web, Mode: policy.Observe}); err == nil || !strings.Contains(err.Error(), "1000 switches are set") {
		t.Errorf("one more: %v", err)
	}
	storeSwitch(t, path, state.Switch{Scope: state.Scope{Namespace: "n0"}, Mode: policy.Observe, Who: "again"})
	storeSwitch(t, path, state.Switch{Mode: policy.Observe})
	storeSwitch(t, path, state.Switch{Scope: state.Scope{Namespace: "n1"}, Mode: policy.Destroy})
	storeSwitch(t, path, state.Switch{Scope: web, Mode: policy.Observe})
	if s := loadSwitches(t, path); len(s.Scoped) != state.MaxScoped || s.Node == nil {
		t.Errorf("there are %d switches", len(s.Scoped))
	}
}

func TestWritersAtTheSameTimeUndoNoWriteOfEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	scopes := make([]state.Scope, 16)
	for i := range scopes {
		scopes[i].Namespace = fmt.Sprint(i)
		storeSwitch(t, path, state.Switch{Scope: scopes[i], Mode: policy.Observe})
	}
	lifted := make([]bool, len(scopes))
	var wg sync.WaitGroup
	for i := range scopes {
		wg.Go(func() { // a slow disk may make it return an error
			lifted[i] = state.StoreSwitch(path, state.Switch{Scope: scopes[i], Mode: policy.Destroy}) == nil
		})
	}
	wg.Wait()
	s := loadSwitches(t, path)
	for i, scope := range scopes {
		if _, is := s.Of(scope); is == lifted[i] {
			t.Errorf("%s: lifted %v, in the file %v", scope.ScopeName(), lifted[i], is)
		}
	}
}

func TestAPodIsParsedAsAScope(t *testing.T) {
	for text, want := range map[string]state.Scope{
		"shop/web": web, "web": {ID: "web"}, "0123456789ab": {ID: "0123456789ab"},
		"": {}, "/": {}, "shop/": {}, "/web": {}, "a/b/c": {}, "a b/c\n": {}, strings.Repeat("x", 257): {},
	} {
		got, err := state.ParseScope(text)
		if (err == nil) != (want != state.Scope{}) || err == nil && got != want {
			t.Errorf("%.20q is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestASwitchHasItsEndAndItsReason(t *testing.T) {
	sw := state.Switch{Who: "alice", When: noon, Until: noon.Add(time.Hour), Reason: "INC-7: \x1b[2J"}
	if got, want := sw.By(), `alice at 2026-03-01T12:00:00Z until 2026-03-01T13:00:00Z, reason "INC-7: \x1b[2J"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever the file has, a read returns no switch that could not be written again, and an error or all of them.
func FuzzLoadSwitches(f *testing.F) {
	f.Add([]byte(`{"mode":"observe","who":"root","when":"2026-03-01T12:00:00Z","until":"2026-03-01T13:00:00Z","switches":[{"namespace":"shop","pod":"web","mode":"off"}]}`))
	f.Add([]byte(`{"switches":[{"id":"cart","mode":"observe"},{"namespace":"shop","mode":"observe"}]}`))
	f.Add([]byte(`{"switches":[`))
	path := filepath.Join(f.TempDir(), "mode")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := state.LoadSwitches(path)
		if s.Node != nil && s.Node.Mode == 0 {
			t.Errorf("the node's switch is %+v", s.Node)
		}
		for _, sw := range s.Scoped {
			if found, ok := s.Of(sw.Scope); sw.Mode == 0 || sw.IsNode() || sw.Check() != nil || !ok || found != sw {
				t.Errorf("%q: %+v, %v", data, sw, err)
			}
		}
	})
}
