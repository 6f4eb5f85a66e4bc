// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/halfclose/halfclose/internal/mutant"
)

// fault is a planted fault. A profile of the torture test has its name.
type fault struct {
	mutant.Mutant

	finder string        // with which it shows
	sign   string        // in the output of a run that notices it
	lasts  time.Duration // of a run
}

// faults returns the planted faults.
func faults() []fault {
	return []fault{
		{Mutant: mutant.Mutant{Name: "no-second-look", Edits: []mutant.Edit{{
			File: "pkg/reaper/examiner.go",
			Old:  "return conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {\n",
			New: `look := func(ids []inetdiag.ID, visit func(int, *inetdiag.Socket, error)) error {
		for i := range ids {
			h := &j.histories[e.index[i]]
			visit(i, &inetdiag.Socket{
				ID: h.ID, State: h.State, Inode: 1, HasInfo: true,
				Info: inetdiag.TCPInfo{BytesAcked: h.Counters.Acked, BytesReceived: h.Counters.Received, SegsIn: h.SegsIn},
			}, nil)
		}
		return nil
	}
	return look(ids, func(i int, s *inetdiag.Socket, err error) {
`,
		}, {
			File: "pkg/reaper/examiner.go",
			Old:  "x.history = policy.Follow(&j.histories[i], look)",
			New:  "x.history, _ = j.histories[i], look",
		}}}, finder: "bpf", sign: "wrongly destroyed by", lasts: 25 * time.Second},
		{Mutant: mutant.Mutant{Name: "no-cookie", Edits: []mutant.Edit{{
			File: "pkg/inetdiag/request.go",
			Old:  "return appendReqV2(b, typeDestroy, unix.NLM_F_ACK, seq, AllStates, 0, id)",
			New: `any := *id
	binary.NativeEndian.PutUint64(any.sockid[offCookie:], noCookie)
	return appendReqV2(b, typeDestroy, unix.NLM_F_ACK, seq, AllStates, 0, &any)`,
		}}}, finder: "bpf", sign: "wrongly destroyed: ", lasts: 30 * time.Second},
		{Mutant: mutant.Mutant{Name: "path-for-identity", Edits: []mutant.Edit{{
			File: "pkg/census/turn.go",
			Old:  "if !h.Stat().Same(r.Netns.Identity) {",
			New:  "if false {",
		}, {
			File: "pkg/finder/opener.go",
			Old:  "if !h.Stat().Same(want) {",
			New:  "if false {",
		}, {
			File: "pkg/finder/opener.go",
			Old:  "if conn == nil || want.Cookie == 0 {",
			New:  "if true {",
		}}}, finder: "sockdiag", sign: "wrongly destroyed: ", lasts: 30 * time.Second},
		{Mutant: mutant.Mutant{Name: "no-repair-of-missed-events", Edits: []mutant.Edit{{
			File: "pkg/finder/scan.go",
			Old:  "err = f.readHoldings()",
			New:  "_ = f.readHoldings",
		}, {
			File: "pkg/finder/audit.go",
			Old:  "if !due || f.fallback != nil {",
			New:  "if due || !due {",
		}}}, finder: "bpf", sign: "late by", lasts: 45 * time.Second},
		{Mutant: mutant.Mutant{Name: "usable-records-only", Edits: []mutant.Edit{{
			File: "pkg/census/roll.go",
			Old:  "	n.Holds = r.holdsOn(id)",
			New:  "	n.Holds, _ = nil, r.holdsOn",
		}}}, finder: "sockdiag", sign: "wrongly destroyed: ", lasts: 30 * time.Second},
		{Mutant: mutant.Mutant{Name: "options-not-restored", Edits: []mutant.Edit{{
			File: "pkg/prober/options.go",
			Old:  "if !chosen[o] {",
			New:  "if !chosen[o] || true {",
		}}}, finder: "bpf", sign: "option", lasts: 20 * time.Second},
		{Mutant: mutant.Mutant{Name: "answer-of-another-socket", Edits: []mutant.Edit{{
			File: "pkg/prober/job.go",
			Old:  "			i := group[n]\n			i.at = asked",
			New:  "			i := group[(n+1)%len(group)]\n			i.at = asked",
		}}}, finder: "bpf", sign: "missed by", lasts: 40 * time.Second},
		{Mutant: mutant.Mutant{Name: "role-forgotten", Edits: []mutant.Edit{{
			File: "pkg/reaper/savedfile.go",
			Old:  "policy.Role(e[2]), e[3], e[4]",
			New:  "policy.RoleUnknown, e[3], e[4]",
		}}}, finder: "sockdiag", sign: "missed: ", lasts: 35 * time.Second},
	}
}
