// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/halfclose/halfclose/internal/mutant"

// mutants returns the mistakes.
func mutants() []mutant.Mutant {
	var all []mutant.Mutant
	for _, m := range mistakes() {
		all = append(all, mutant.Mutant{Name: m.name, Edits: []mutant.Edit{{File: pkg + "/" + m.file, Old: m.old, New: m.new}}})
	}
	return all
}

// mistake is a change of one text in a file of pkg.
type mistake struct{ name, file, old, new string }

func mistakes() []mistake {
	return []mistake{
		{"join-most-act", "sentence.go", "act, actWhy := pick(a.Act.orOff(), a.ActWhy, b.Act.orOff(), b.ActWhy, 1)", "act, actWhy := pick(a.Act.orOff(), a.ActWhy, b.Act.orOff(), b.ActWhy, -1)"},
		{"join-first-question", "sentence.go", "pick(a.AskAt, a.AskWhy, b.AskAt, b.AskWhy, 1)", "pick(a.AskAt, a.AskWhy, b.AskAt, b.AskWhy, -1)"},
		{"join-first-end", "sentence.go", "pick(a.EndAt, a.EndWhy, b.EndAt, b.EndWhy, 1)", "pick(a.EndAt, a.EndWhy, b.EndAt, b.EndWhy, -1)"},
		{"join-any-sigpipe", "sentence.go", "AskSigpipe: a.AskSigpipe && b.AskSigpipe", "AskSigpipe: a.AskSigpipe || b.AskSigpipe"},
		{"join-fewest-probes", "sentence.go", "ProbeCount: max(a.ProbeCount, b.ProbeCount), AskSigpipe", "ProbeCount: min(a.ProbeCount, b.ProbeCount), AskSigpipe"},
		{"join-last-named", "sentence.go", "c == 0 && aWhy.compare(bWhy) <= 0", "c == 0 && aWhy.compare(bWhy) > 0"},
		{"ask-with-bytes-unacknowledged", "sentence.go", "case s.WQueue > 0:", "case false:"},
		{"ask-under-ktls", "sentence.go", "case hidesBytes(s):", "case false:"},
		{"end-under-ktls", "sentence.go", "if hidesBytes(s) {", "if false {"},
		{"ktls-without-bytes-is-spared", "sentence.go", "s.ULP == \"tls\" && Unread(s) > 0", "s.ULP == \"tls\""},
		{"pending-shortens", "sentence.go", "max(t.grace, t.pendingGrace), UnackedData", "t.pendingGrace, UnackedData"},
		{"unacknowledged-is-not-pending", "sentence.go", "case unread || s.WQueue > 0:", "case unread:"},
		{"unread-is-not-pending", "sentence.go", "case unread || s.WQueue > 0:", "case s.WQueue > 0:"},
		{"gaps-triple", "sentence.go", "min(gap, math.MaxInt64/2) * 2", "min(gap, math.MaxInt64/3) * 3"},
		{"gaps-of-minutes", "sentence.go", "const maxGap = time.Hour", "const maxGap = time.Minute"},
		{"held-up-questions-follow-closely", "sentence.go", "return max(at, asked.Add(gap/2))", "return at"},
		{"end-too-late", "sentence.go", "return s.Act != Off && !now.Before(s.EndAt)", "return s.Act != Off && s.EndAt.Before(now)"},
		{"ask-too-late", "sentence.go", "return s.Act != Off && !now.Before(s.AskAt)", "return s.Act != Off && s.AskAt.Before(now)"},

		{"destroy-without-owners", "judge.go", "return v.Reason == Destroyable && !v.NeedsOwners", "return v.Reason == Destroyable"},
		{"observe-destroys", "judge.go", "if v.Act == Destroy {\n\t\t\tv.Reason = Destroyable", "if v.Act != Off {\n\t\t\tv.Reason = Destroyable"},
		{"observe-asks", "judge.go", "if v.Act == Destroy {\n\t\t\tv.Reason, v.Ask", "if v.Act != Off {\n\t\t\tv.Reason, v.Ask"},
		{"ask-without-owners", "judge.go", "AskingPeer, !v.NeedsOwners", "AskingPeer, true"},
		{"cap-raises", "judge.go", "if m <= v.Act.orOff() {", "if m >= v.Act.orOff() {"},
		{"cap-keeps-the-question", "judge.go", "v.Act, v.ActWhy, v.Ask = m, Why{Reason: ModeOff}, false", "v.Act, v.ActWhy = m, Why{Reason: ModeOff}"},
		{"cap-keeps-the-times", "judge.go", "v.AskAt, v.EndAt = Forever, Forever\n\tcase v.Reason == Destroyable:", "\n\tcase v.Reason == Destroyable:"},
		{"frozen-is-never-looked-at-again", "judge.go", "if v.Reason == OwnerFrozen {\n\t\treturn rarer", "if v.Reason == OwnerFrozen {\n\t\treturn 0"},
		{"history-role-ignored", "judge.go", "f.Role = h.Role", "f.Role = RoleUnknown"},
		{"one-frozen-owner-is-enough", "judge.go", "!slices.ContainsFunc(f.Owners, func(o Owner) bool { return !o.Frozen })", "slices.ContainsFunc(f.Owners, func(o Owner) bool { return o.Frozen })"},
		{"frozen-is-destroyed", "judge.go", "v.AskAt, v.EndAt = Forever, Forever\n\t\tv.AskWhy.Reason", "v.AskAt = Forever\n\t\tv.AskWhy.Reason"},
		{"orphan-is-judged", "judge.go", "case s.Inode == 0 && s.State == inetdiag.FinWait2:", "case s.Inode == 0 && s.State == inetdiag.CloseWait:"},
		{"mptcp-is-judged", "judge.go", `case s.ULP == "mptcp":`, `case s.ULP == "smc":`},
		{"no-tcp-info-is-judged", "judge.go", "case !s.HasInfo:", "case false:"},
		{"first-owner-decides", "judge.go", "} else {\n\t\t\tjoined = Join(joined, sentence)", "} else {\n\t\t\t_ = sentence"},
		{"last-owner-decides", "judge.go", "} else {\n\t\t\tjoined = Join(joined, sentence)", "} else {\n\t\t\tjoined = sentence"},
		{"further-owners-are-ignored", "judge.go", "sentence, _ := x.from(0)\n\t\tjoined = Join(joined, sentence)", "x.from(0)"},
		{"may-match-decides", "judge.go", "return Join(own, joined), least", "return own, least"},
		{"may-match-is-ignored", "judge.go", "return Join(own, joined), least", "return joined, least"},
		{"match-does-not-end-the-search", "judge.go", "if c == yes {\n\t\t\tx.addAbove(ref)\n\t\t\treturn own, own\n\t\t}", "if c == yes {\n\t\t\tx.addAbove(ref)\n\t\t}"},
		{"unknown-owner-never-shortens", "judge.go", "least = lessen(own, least)", "least = Join(own, least)"},
		{"unknown-role-shortens", "judge.go", "least = Join(own, least)", "least = lessen(own, least)"},
		{"reason-of-what-may-be", "judge.go", "v.ActWhy, v.AskWhy, v.EndWhy = least.ActWhy, least.AskWhy, least.EndWhy", "v.ActWhy = least.ActWhy"},
		{"owners-of-one-name-are-judged-each", "judge.go", "if isNamed(x.f.Owners[:i], o.Command) {", "if i > 0 && o.Command == x.command {"},
		{"owner-unknown-is-not-said", "judge.go", "v.Reason = OwnerUnknown", "v.Reason = WithinGrace"},
		{"above-of-a-rule-without", "judge.go", "ref.List == ListRules && x.policy.Rules[ref.Index].Values.Above != nil", "ref.List == ListRules"},
		{"observed-end-spares-nothing", "judge.go", "case v.Act != Destroy:", "case v.Act == Off:"},
		{"unread-end-spares-for-good", "judge.go", "case Unread(s) > 0 && now.Before(v.EndAt):", "case Unread(s) > 0:"},
		{"queued-end-spares-nothing", "judge.go", "v.Reason, v.Standing = NotAccepted, StandingNotAccepted", "v.Reason = NotAccepted"},
		{"no-early-look-at-a-reader", "judge.go", "pending && h.Last == h.Start", "false && pending"},

		{"start-is-what-can-be-proven", "history.go", "Start: look.At, Last: look.At,", "Start: look.At.Add(-s.Info.LastAckRecv), Last: look.At,"},
		{"entry-is-not-the-start", "history.go", "next.Since, next.Start = look.Entered, look.Entered", "next.Since = look.Entered"},
		{"accepted-late-counts-from-before", "history.go", "next.Since, next.Start = look.At, look.At", "_ = prev.Owned"},
		{"progress-counts-from-before-the-look", "history.go", "next.Progress = look.At", "next.Progress = prev.Last"},
		{"progress-keeps-the-questions", "history.go", "h.FrozenIdle, h.Asks, h.PeerAlive = 0, 0, 0", "h.FrozenIdle = 0"},
		{"role-is-forgotten", "history.go", "next.Role = prev.Role", "_ = prev.Role"},
		{"fin-is-data", "history.go", "return max(s.RQueue, 1) - 1", "return s.RQueue"},
		{"frozen-time-counts", "history.go", "max(h.Start, h.Progress).Add(h.FrozenIdle)", "max(h.Start, h.Progress)"},
		{"frozen-time-counts-by-state", "history.go", "if c == ClockState {\n\t\treturn h.Since.Add(h.Frozen)", "if c == ClockState {\n\t\treturn h.Since"},
		{"progress-does-not-count", "history.go", "max(h.Start, h.Progress)", "max(h.Start, 0)"},
		{"fewer-bytes-are-the-same-connection", "history.go", "case c.Acked < d.Acked, c.Received < d.Received:", "case c.Acked < d.Acked:"},
		{"reconnected-is-the-same", "history.go", "case h.ID != prev.ID, h.State != prev.State,", "case"},

		{"seconds-of-timestamp-error", "history.go", "const timestampError = 50 * time.Millisecond", "const timestampError = 5 * time.Second"},
		{"entry-seen-late-proves-nothing", "history.go", "next.Since = min(next.Since, look.Entered)", "_ = look.Entered"},
		{"idle-from-before-it-was-half-closed", "history.go", "return max(max(h.Start, h.Progress).Add(h.FrozenIdle), h.Since.Add(h.Frozen))", "return max(h.Start, h.Progress).Add(h.FrozenIdle)"},
		{"accepted-keeps-the-frozen-time", "history.go", "next.Frozen, next.AllAsks = 0, 0", "next.AllAsks = 0"},

		{"repeated-key-last-wins", "parse.go", "c.addf(at, \"given more than once\")", "c.addf(at, \"given more than once\")\n\t\t\tread(at, f.raw)"},
		{"unknown-role-does-not-match", "match.go", "if role != RoleUnknown {\n\t\t\treturn no\n\t\t}", "return no"},
		{"unknown-owner-does-not-match", "match.go", "case unknown:\n\t\t\tbyOwner = true", "case unknown:\n\t\t\treturn no"},
		{"sixteen-bytes-of-a-command", "match.go", "commandLength = 15", "commandLength = 16"},
		{"any-state-matches", "match.go", "m.State != 0 && m.State != s.State", "false"},
		{"any-uid-matches", "match.go", "if len(m.UIDs) > 0 &&", "if false &&"},

		{"unset-patience-ends", "patience.go", "if p <= 0 {\n\t\treturn Never", "if p < 0 {\n\t\treturn Never"},
		{"unset-mode-destroys", "words.go", "if !modeWords.has(uint8(m)) {\n\t\t\treturn Off", "if !modeWords.has(uint8(m)) {\n\t\t\treturn Destroy"},
		{"rule-leaves-the-states-grace", "policy.go", "if g, _ := v.grace(s); g != nil {", "if g := v.Grace; g != nil {"},
		{"rule-mode-is-ignored", "policy.go", "t.mode = MostConservative(*v.Mode)", "_ = v.Mode"},
		{"rules-escape-the-cap", "policy.go", "v.Mode = new(MostConservative(*v.Mode, m))", "_ = m"},
		{"rules-escape-the-least", "policy.go", "*to = new(max(**to, least))", "_ = least"},
		{"rules-do-not-set-the-cadence", "policy.go", "r = &p.Rules[i]", "_ = i"},
		{"grace-beats-the-states", "rule.go", "case s == inetdiag.CloseWait && v.CloseWaitGrace != nil:", "case s == inetdiag.CloseWait && v.Grace == nil:"},
		{"relax-judges-the-annotations-alone", "layers.go", "if l.PodOverrides == OverridesAny {", "if l.PodOverrides != OverridesNone {"},
		{"wrong-annotation-destroys", "layers.go", "if wrong {", "if wrong && false {"},
		{"wrong-network-destroys", "layers.go", `if l.Observe != "" {`, "if false {"},
		{"long-annotations-are-kept", "annotations.go", "case !isList || !isPlain(kept[name]):", "case false:"},
		{"long-lists-are-kept", "annotations.go", "case isList && len(kept[name]) > maxListBytes:", "case false:"},
		{"cut-lists-are-right", "annotations.go", "if len(value) > most || value == cutMark {", "if value == cutMark {\n\t\t\tcontinue\n\t\t}\n\t\tif len(value) > most {"},
		{"raised-patience-keeps-its-source", "policy.go", "*to, p.Sources[key] = least, SourceMinGrace", "*to, _ = least, key"},
		{"further-annotations-are-not-counted", "annotations.go", "more += min(n, math.MaxInt32)", "more += min(0*n, math.MaxInt32)"},
		{"unknown-annotation-is-ignored", "annotations.go", "return l, c.count() > 0, w.list()", "return l, false, w.list()"},

		{"the-idle-shortest-go", "above.go", "cmp.Compare(due[a].Start, due[b].Start)", "cmp.Compare(due[b].Start, due[a].Start)"},
		{"one-rule-allows-for-all", "above.go", "spared[i] = true", "spared[i] = !spared[i]"},
		{"one-more-goes", "above.go", "set[max(len(set)-above, 0):]", "set[min(max(len(set)-above, 0)+1, len(set)):]"},
		{"threshold-holds-back-the-question", "above.go", "if v.isAskDue(now) {", "if false {"},

		{"rule-gives-what-it-does-not-name", "explain.go", "ref.Index < len(p.Rules) && p.Rules[ref.Index].Values.names(key)", "ref.Index < len(p.Rules)"},
		{"may-be-is-said-for-certain", "explain.go", "v.Act == Off || v.Deadline != v.EndAt", "v.Act == Off"},

		{"loopback-at-one-end-is-everywhere", "ends.go", "!isLocalToNetns(local.Addr()) && !isLocalToNetns(peer.Addr())", "!isLocalToNetns(local.Addr()) || !isLocalToNetns(peer.Addr())"},
		{"ends-of-any-counts", "ends.go", "within1(a.sent(), b.Counters.Received) && within1(b.sent(), a.Counters.Received)", "within1(b.sent(), a.Counters.Received)"},
		{"loopback-is-everywhere", "ends.go", "return a.IsLoopback() || a.IsLinkLocalUnicast()", "return a.IsLinkLocalUnicast()"},
		{"link-local-is-everywhere", "ends.go", "return a.IsLoopback() || a.IsLinkLocalUnicast()", "return a.IsLoopback()"},
		{"peer-spared-is-asked", "ends.go", "PeerSpared, other, false, false, nil", "PeerSpared, other, v.Ask, false, nil"},
	}
}
