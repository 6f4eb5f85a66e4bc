// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

var update = flag.Bool("update", false, "write the results to testdata, to review the difference")

// full returns a value whose fields are all set, including the ones that are added to its type later.
func full[T any](t *testing.T) T {
	t.Helper()
	var v T
	fill(t, reflect.ValueOf(&v).Elem())
	return v
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for _, known := range []any{
		time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), netip.MustParseAddrPort("10.0.0.1:80"), policy.Observe, policy.Destroyable,
		inetdiag.CloseWait, api.FromEnvironment, policy.Patience(10 * time.Minute), policy.ClockState, api.Seconds(1500 * time.Millisecond),
		policy.Default().Sources, policy.RoleClient, api.BySystemd, 10 * time.Second,
		policy.Match{Loopback: true},
		policy.Rule{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Grace: new(policy.Never)}},
		map[inetdiag.State]uint64{inetdiag.CloseWait: 1, inetdiag.FinWait2: 2}, // counts
		map[string]int{"CLOSE_WAIT": 1, "FIN_WAIT2": 2},                        // candidates
		map[string]uint64{"EPERM": 1},                                          // errors
	} {
		if v.Type() == reflect.TypeOf(known) {
			v.Set(reflect.ValueOf(known))
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("text")
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("the test has no value of type %v", v.Type())
	}
}

// shapes returns a value of each answer's type, with all fields set.
func shapes(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{
		"status":   full[api.Status](t),
		"leaks":    full[api.LeakList](t),
		"sockets":  []any{full[api.SocketView](t), full[api.SocketsEnd](t)}, // the lines
		"history":  []any{full[api.Entry](t), full[api.HistoryEnd](t)},
		"mode":     full[api.ModeView](t),
		"dry-run":  full[api.DryRun](t),
		"config":   full[api.Config](t),
		"handover": full[api.Holder](t),
		"healthz":  full[api.Health](t),
	}
}

// TestTheShapeOfEachAnswer fails when a field is renamed, removed or added: programs rely on them.
func TestTheShapeOfEachAnswer(t *testing.T) {
	for name, v := range shapes(t) {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetIndent("", "  ")
			if err := enc.Encode(v); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("differs from %s; if that is intended, run the test with -update (-want +got)\n%s", path, diff)
			}
		})
	}
}

// shape returns the paths and types in a JSON text, such as ".attachments[].pod.name string".
func shape(t *testing.T, text []byte) map[string]bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	list := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, w := range v {
				walk(path+"."+name, w)
			}
		case []any:
			list[path+"[]"] = true
			for _, w := range v {
				walk(path+"[]", w)
			}
		default:
			list[fmt.Sprintf("%s %T", path, v)] = true
		}
	}
	walk("", v)
	return list
}

// isElsewhere reports whether a field depends on where the test runs, or belongs to a part that this reaper runs without:
// adoption, the tracker of descriptors, the policy file, and files that cannot be written.
func isElsewhere(field string) bool {
	return strings.Contains(field, "owners[].containerID") ||
		slices.ContainsFunc([]string{".adoption.", ".descriptors.", ".policyFile.", ".unwritable[]"}, func(part string) bool { return strings.HasPrefix(field, part) })
}

// TestARealReaperSetsEveryField asks a reaper whose sockets and records use nearly all fields.
func TestARealReaperSetsEveryField(t *testing.T) {
	t.Parallel()
	shop, bill := nstest.New(t), nstest.New(t)
	shut(t, shop) // before the first sweep: with a grace of an hour the next one is late
	shut(t, bill)
	n := newNode(t)
	sources := func(r *state.Record) {
		r.Warnings = []string{"a mistake"}
		r.Pod.UID, r.Plugin = "0-1-2-3", buildinfo.Build{Version: "v1.2.3", Commit: "abc"}
	}
	n.register(shop, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Second, time.Hour), sources)
	n.register(bill, state.Pod{Namespace: "bill", Name: "db"}, grace(time.Hour, time.Hour), func(r *state.Record) {
		r.Layers.Network.Exempt = []policy.Match{{Loopback: true}}
		r.Layers.Network.Rules = []policy.Rule{{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Grace: new(policy.Never)}}}
	})
	n.register(bill, state.Pod{}, grace(time.Hour, time.Hour), func(r *state.Record) { r.Boot, r.ContainerID = "another", "other" })
	if err := os.WriteFile(filepath.Join(n.store.AttachmentsDir(), "x@eth0.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.await(`destroyed_total{namespace="shop",state="CLOSE_WAIT"}`, 1)
	n.awaitSockets("CLOSE_WAIT", 1)
	for _, scope := range []state.Scope{{}, {Namespace: "else", Pod: "where"}, {ID: "elsewhere"}} {
		m := api.ModeRequest{Scope: scope, Mode: policy.Observe, Who: "the test", Until: time.Now().Add(time.Hour), Reason: "a test"}
		if _, err := n.SetMode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, shop)
	n.await(`would_destroy_total{namespace="shop",state="CLOSE_WAIT"}`, 1)

	notSet := map[string][]string{ // fields that contradict the others, or need another kernel or finder
		"status": {
			".agesLost string", ".attachments[].problem string", ".attachments[].unreachable string", ".counts.destroyed.FIN_WAIT2 float64", ".counts.errors.EPERM float64",
			".counts.wouldDestroy.FIN_WAIT2 float64", ".finder.crowded[]", ".finder.crowded[].containerId string", ".finder.crowded[].netns string",
			".finder.crowded[].pod.name string", ".finder.crowded[].pod.namespace string", ".finder.crowded[].pod.uid string",
			".finder.crowded[].sockets float64", ".finder.known float64", ".finder.missed float64", ".finder.room float64",
			".finder.staleSeconds float64", ".finder.why string", ".history.damage string", ".history.problem string", ".mode.kernelProblem string", ".mode.netnsProblem string",
			".mode.switch.id string", ".mode.switch.namespace string", ".mode.switch.pod string", // fields of narrower switches
			".mode.switchProblem string",
			".peers.answers.EPERM float64", ".peers.earlier float64", ".peers.lost float64", ".peers.missing float64", ".peers.notAsked.EPERM float64",
			".peers.refused.EPERM float64", ".peers.stuck float64", ".peers.suspended bool", ".peers.unreadable float64",
			".refusals[].count float64", ".refusals[].do string", ".refusals[].fatal bool", ".refusals[].kind string", ".refusals[].of float64",
			".refusals[].problem string",
		},
		"history": { // fields that need a peer that is gone, a refusal, a sum, hundreds of owners, or a damaged store
			"[].count float64", "[].errno string", "[].firstSeq float64", "[].firstTime string", "[].how string", "[].moreOwners float64", "[].ownerSees string", "[].problems[]",
			"[].problems[] string",
		},
		"mode": {
			".kernelProblem string", ".netnsProblem string", ".switch.id string", ".switch.namespace string", ".switch.pod string",
			".switchProblem string",
		},
		"sockets": {
			"[].askSeconds float64", "[].notAsked string", "[].peerAliveSecondsAgo float64", "[].peerAskedSecondsAgo float64", "[].problems[] string",
			"[].questions float64", // fields that need a question
			"[].staleSeconds float64",
		},
	}
	for name, a := range map[string]answer{
		"status": n.get("/v1/status"), "sockets": n.get("/v1/sockets?owners=true"), "history": n.get("/v1/history"), "mode": n.get("/v1/mode"),
		"healthz": n.get("/healthz"), "handover": n.do(n.unix, http.MethodPost, "http://reaper/v1/handover", ""),
	} {
		t.Run(name, func(t *testing.T) {
			contentType := "application/json"
			if name == "sockets" || name == "history" {
				contentType = "application/x-ndjson"
				a.body = "[" + strings.ReplaceAll(strings.TrimSuffix(a.body, "\n"), "\n", ",") + "]\n"
			} else if !strings.HasSuffix(a.body, "}\n") {
				t.Errorf("the answer has no end: %s", a.body)
			}
			if a.code/100 != 2 || a.header.Get("Content-Type") != contentType {
				t.Errorf("status %d, %s: %s", a.code, a.header.Get("Content-Type"), a.body)
			}
			golden, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			documented, live := shape(t, golden), shape(t, []byte(a.body))
			for _, what := range slices.Sorted(maps.Keys(live)) {
				if !documented[what] {
					t.Errorf("testdata lacks %s", what)
				}
			}
			var missing []string
			for _, what := range slices.Sorted(maps.Keys(documented)) {
				if !live[what] && !isElsewhere(what) {
					missing = append(missing, what)
				}
			}
			if diff := cmp.Diff(notSet[name], missing); diff != "" {
				t.Errorf("fields of testdata that are not set (-want +got)\n%s", diff)
			}
		})
	}
}
