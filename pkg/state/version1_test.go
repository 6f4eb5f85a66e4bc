// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// version1 is a record that the single program wrote, with a policy.
func version1(t *testing.T, policy string) string {
	t.Helper()
	return `{
  "version": 1,
  "network": "pods",
  "containerID": "c",
  "ifname": "eth0",
  "boot": "` + bootID(t) + `",
  "netns": {
    "path": "/run/netns/cni-1",
    "cookie": 54048,
    "dev": 4,
    "inode": 4026532177
  },
  "pod": {
    "namespace": "shop",
    "name": "cart-0"
  },
  "policy": ` + policy + `,
  "sources": {
    "clock": "built-in",
    "mode": "annotation halfclose.cni/mode"
  },
  "time": "2026-03-01T12:00:00Z"
}
`
}

const (
	version1File   = "c@eth0.json"
	version1Policy = `{"mode": "destroy", "closeWaitGrace": "10m", "finWait2Grace": "never", "clock": "state", "pendingData": "keep",
		"exempt": [{"localPorts": "22,8000-8999", "peers": "10.0.0.0/8", "loopback": true}]}`
)

func TestARecordOfVersion1KeepsItsPolicy(t *testing.T) {
	s := newStore(t)
	for pendingData, pendingGrace := range map[string]policy.Patience{"keep": policy.Never, "destroy": 1} {
		plant(t, s, version1File, version1(t, edit(t, version1Policy, `"keep"`, `"`+pendingData+`"`)))
		l := list(t, s)
		if len(l.Records) != 1 || len(l.Problems)+len(l.Holds) > 0 {
			t.Fatalf("%s: %+v, want one record", pendingData, l)
		}
		r := l.Records[0]
		if want := (netns.Identity{Cookie: 54048, Dev: 4, Inode: 4026532177}); r.Netns.Identity != want || r.Pod.Name != "cart-0" {
			t.Errorf("%s: netns %v of pod %v", pendingData, r.Netns.Identity, r.Pod)
		}
		if name, err := r.FileName(); err != nil || name != version1File {
			t.Errorf("%s: its file is %q, %v", pendingData, name, err)
		}
		policies := r.Layers.Resolve(0).Policies
		if len(policies) != 1 {
			t.Fatalf("%s: %d policies", pendingData, len(policies))
		}
		p := policies[0]
		if p.Mode != policy.Destroy || p.Grace(inetdiag.CloseWait) != policy.Patience(10*time.Minute) || p.Grace(inetdiag.FinWait2) != policy.Never ||
			p.Clock != policy.ClockState || len(p.Exempt) != 1 || p.PendingGrace != pendingGrace {
			t.Errorf("%s: the policy is %+v", pendingData, p)
		}
		if p.ProbeAfter != policy.Never {
			t.Errorf("%s: a peer is asked after %v, which the single program never did", pendingData, p.ProbeAfter)
		}
	}
}

func TestAnIncompleteRecordOfVersion1HoldsItsNetns(t *testing.T) {
	whole := version1(t, version1Policy)
	for name, tc := range map[string]struct {
		text string
		why  string
	}{
		"cut short":                {whole[:len(whole)*2/3], "end of JSON"},
		"without a mode":           {edit(t, whole, `"mode": "destroy"`, `"_": "destroy"`), "mode is missing"},
		"without a grace":          {edit(t, whole, `"closeWaitGrace"`, `"grace"`), "closeWaitGrace is missing"},
		"without pendingData":      {edit(t, whole, `"pendingData"`, `"pending"`), "pendingData is missing"},
		"with another pendingData": {edit(t, whole, `"keep"`, `"drop"`), "pendingData"},
		"with an unknown mode":     {edit(t, whole, `"destroy"`, `"Observe"`), "Observe"},
		"with an unknown key":      {edit(t, whole, `"clock"`, `"role": "client", "clock"`), "role"},
		"without a policy":         {edit(t, whole, `"policy"`, `"politics"`), "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			plant(t, s, version1File, tc.text)
			l := list(t, s)
			if len(l.Records) > 0 || len(l.Problems) != 1 || !errors.Is(l.Problems[0].Err, state.ErrInvalid) || !strings.Contains(l.Problems[0].Err.Error(), tc.why) {
				t.Errorf("%+v, want one problem that says %q", l, tc.why)
			}
			if len(l.Holds) != 1 || l.Holds[0].Netns != (state.NetnsKey{Cookie: 54048, Inode: 4026532177}) {
				t.Errorf("holds %+v, want the netns that it names", l.Holds)
			}
		})
	}
}

func TestPutReplacesARecordOfVersion1(t *testing.T) {
	s := newStore(t)
	age(t, plant(t, s, version1File, version1(t, version1Policy)), time.Minute)
	r := record(t, "c", "eth0")
	put(t, s, r)
	if diff := compare(state.Listing{Records: []state.Record{r}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestARecordOfVersion1IsWrittenInTheCurrentVersion(t *testing.T) {
	s := newStore(t)
	old := plant(t, s, version1File, version1(t, version1Policy))
	age(t, old, time.Minute)
	r := list(t, s).Records[0]
	put(t, s, r)
	r.Version = state.Version
	if diff := compare(state.Listing{Records: []state.Record{r}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(s.AttachmentsDir(), "c@eth0:d320-f0000151.json")); err != nil {
		t.Error(err)
	}
}
