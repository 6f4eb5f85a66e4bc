// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestStatesAreTakenAsAllToolsWriteThem(t *testing.T) {
	for text, want := range map[string]inetdiag.State{
		"CLOSE_WAIT": inetdiag.CloseWait, "close-wait": inetdiag.CloseWait, "closewait": inetdiag.CloseWait, "Close_Wait": inetdiag.CloseWait,
		"FIN_WAIT2": inetdiag.FinWait2, "fin-wait2": inetdiag.FinWait2, "FIN-WAIT-2": inetdiag.FinWait2, "fin_wait_2": inetdiag.FinWait2,
		"established": inetdiag.Established, "LISTEN": inetdiag.Listen, "bound-inactive": inetdiag.BoundInactive,
	} {
		var got inetdiag.State
		if err := (stateValue{&got}).Set(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "WAIT", "state 1", "CLOSE WAIT", "0"} {
		var got inetdiag.State
		if err := (stateValue{&got}).Set(text); err == nil || got != 0 {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestEveryVerdictCanBeAskedFor(t *testing.T) {
	for _, name := range verdictNames() {
		var v verdictValue
		if err := v.Set(name); err != nil || v.String() != name {
			t.Errorf("%s: %v, and it is %s", name, err, v.String())
		}
	}
	if got := len(verdictNames()); got != 1+len(policy.Reasons()) {
		t.Errorf("there are %d", got)
	}
	var v verdictValue
	if err := v.Set("UNREAD"); err != nil || v.reason != policy.UnreadData || v.held {
		t.Errorf("got %+v, %v", v, err)
	}
	if err := v.Set("dead"); err == nil {
		t.Error("there is no verdict dead")
	}
}

// TestAVerdictThatTheModeHoldsBackIsShownAsTheJournalHasIt keeps one name for one thing.
func TestAVerdictThatTheModeHoldsBackIsShownAsTheJournalHasIt(t *testing.T) {
	for _, tt := range []struct {
		verdict policy.Reason
		mode    policy.Mode
		want    string
	}{
		{policy.Destroyable, policy.Destroy, "destroy"},
		{policy.Destroyable, policy.Observe, api.WouldDestroy},
		{policy.Destroyable, policy.Off, api.WouldDestroy},
		{policy.WithinGrace, policy.Observe, "young"},
	} {
		if got := describe.Verdict(api.SocketView{Verdict: tt.verdict, Mode: tt.mode}); got != tt.want {
			t.Errorf("%v in mode %v: got %s, want %s", tt.verdict, tt.mode, got, tt.want)
		}
	}
}

func TestAPodIsMeantByItsNameOrItsContainer(t *testing.T) {
	pod := state.Pod{Namespace: "shop", Name: "web-1"}
	for want, is := range map[string]bool{
		"": true, "web-1": true, "shop/web-1": true, "0123": true, "0123456789ab": true,
		"web": false, "shop": false, "web-12": false, "prod/web-1": false, "123": false,
	} {
		if got := api.CoversPod(want, pod, "0123456789ab"); got != is {
			t.Errorf("%q: got %v", want, got)
		}
	}
}

func FuzzWhatIsTakenIsShownTheSame(f *testing.F) {
	for _, text := range []string{"CLOSE_WAIT", "fin-wait-2", "would-destroy", "Unread", "", "unknown"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again inetdiag.State
		if (stateValue{&s}).Set(text) == nil {
			if err := (stateValue{&again}).Set(stateValue{&s}.String()); err != nil || again != s {
				t.Errorf("%q is %v, which is %v: %v", text, s, again, err)
			}
		}
		var v, vAgain verdictValue
		if v.Set(text) == nil {
			if err := vAgain.Set(v.String()); err != nil || vAgain != v {
				t.Errorf("%q is %+v, which is %+v: %v", text, v, vAgain, err)
			}
		}
	})
}
