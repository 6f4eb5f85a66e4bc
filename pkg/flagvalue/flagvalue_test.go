// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package flagvalue_test

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestStatesOfAllToolsAreParsed(t *testing.T) {
	for text, want := range map[string]inetdiag.State{
		"CLOSE_WAIT": inetdiag.CloseWait, "close-wait": inetdiag.CloseWait, "closewait": inetdiag.CloseWait, "Close_Wait": inetdiag.CloseWait,
		"FIN_WAIT2": inetdiag.FinWait2, "fin-wait2": inetdiag.FinWait2, "FIN-WAIT-2": inetdiag.FinWait2, "fin_wait_2": inetdiag.FinWait2,
		"established": inetdiag.Established, "LISTEN": inetdiag.Listen, "bound-inactive": inetdiag.BoundInactive,
	} {
		var got inetdiag.State
		if err := (flagvalue.State{To: &got}).Set(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "WAIT", "state 1", "CLOSE WAIT", "0"} {
		var got inetdiag.State
		if err := (flagvalue.State{To: &got}).Set(text); err == nil || got != 0 {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestEveryVerdictIsParsed(t *testing.T) {
	for _, name := range flagvalue.Verdicts() {
		var got *policy.Reason
		v := flagvalue.Verdict{To: &got}
		if err := v.Set(name); err != nil || v.String() != name {
			t.Errorf("%s: %v, parsed as %s", name, err, v.String())
		}
	}
	if got := len(flagvalue.Verdicts()); got != len(policy.Reasons()) {
		t.Errorf("%d names, want one for each verdict", got)
	}
	var got *policy.Reason
	v := flagvalue.Verdict{To: &got}
	if err := v.Set("UNREAD-DATA"); err != nil || got == nil || *got != policy.UnreadData {
		t.Errorf("got %v, %v", v, err)
	}
	if err := v.Set("dead"); err == nil {
		t.Error("an unknown verdict is parsed")
	}
}

func FuzzParsedValuesRoundTrip(f *testing.F) {
	for _, text := range []string{"CLOSE_WAIT", "fin-wait-2", "would-destroy", "Unread-data", "", "unknown"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, reparsed inetdiag.State
		if (flagvalue.State{To: &s}).Set(text) == nil {
			if err := (flagvalue.State{To: &reparsed}).Set(flagvalue.State{To: &s}.String()); err != nil || reparsed != s {
				t.Errorf("%q is %v, then %v: %v", text, s, reparsed, err)
			}
		}
		var first, second *policy.Reason
		v := flagvalue.Verdict{To: &first}
		if v.Set(text) == nil {
			if err := (flagvalue.Verdict{To: &second}).Set(v.String()); err != nil || *second != *first {
				t.Errorf("%q is %v, then %v: %v", text, first, second, err)
			}
		}
	})
}

func TestASwitchIsDestroyOrObserve(t *testing.T) {
	for _, args := range [][]string{nil, {"destroy"}, {"observe"}} {
		if err := flagvalue.CheckSwitchMode(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"off"}, {"Destroy"}, {""}, {"observe", "destroy"}} {
		if err := flagvalue.CheckSwitchMode(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
