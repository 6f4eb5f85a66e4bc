// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestOnlyTheContainerIDsOfRuntimesAreCut(t *testing.T) {
	for id, want := range map[string]string{
		"": "-",
		"b04f0ee2c6a1d58f1f9b0c5e4c7d3a2b1e0f9d8c7b6a59483726150493827160": "b04f0ee2c6a1d",
		"b04f0ee2c6a1d":               "b04f0ee2c6a1d",
		"legacy-soap-client":          "legacy-soap-client",
		"pid-4711-of-the-old-cluster": "pid-4711-of-the-old-cluster",
	} {
		if got := ContainerID(id); got != want {
			t.Errorf("%q is shown as %q, want %q", id, got, want)
		}
	}
}

func TestAgesHaveTwoUnitsAtMost(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 1234 * time.Millisecond: "1.2s", 59*time.Second + 960*time.Millisecond: "1m", 61 * time.Second: "1m1s",
		59*time.Minute + 59*time.Second + 600*time.Millisecond: "1h", time.Hour + 2*time.Minute + 3*time.Second: "1h2m", 26 * time.Hour: "26h",
		99*time.Hour + 59*time.Minute: "99h59m", 100*time.Hour + 29*time.Minute: "4d4h", 240 * time.Hour: "10d",
	} {
		if got := Age(api.Seconds(d)); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestEveryFindingHasAdvice(t *testing.T) {
	a := api.AttachmentView{Mode: policy.Observe, Policy: api.PolicyView(policy.Default())}
	for kind := SwitchUnreadable; kind <= NotARecord; kind++ {
		f := Finding{Kind: kind, Text: "the reason", Count: 1, Attachment: &a, Refusal: &api.RefusalView{Do: "the fix"}}
		if what, todo := f.Advice(); what == "" || todo == "" {
			t.Errorf("kind %d: %q, %q", kind, what, todo)
		}
	}
	f := Finding{Kind: ModeCapped, Text: "the reaper's --mode observe", Attachment: &a}
	if what, _ := f.Advice(); what != "capped at observe by the reaper's --mode observe; the policy is destroy" {
		t.Errorf("a cap is described as %q", what)
	}
}

func TestTheModeNamesItsCaps(t *testing.T) {
	for want, m := range map[string]api.ModeView{
		"destroy":                               {Effective: policy.Destroy, Reaper: policy.Destroy},
		"observe (the reaper's --mode observe)": {Effective: policy.Observe, Reaper: policy.Observe},
		"off (the reaper's --mode off)":         {Effective: policy.Off, Reaper: policy.Off},
		"observe (the unreadable switch: EIO)":  {Effective: policy.Observe, Reaper: policy.Destroy, SwitchProblem: "EIO"},
	} {
		if got := Mode(m); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, f := range Findings(apitest.Status()) {
		if f.Kind == FinderLate && f.Text != "1m30s" {
			t.Errorf("the finder is late by %q", f.Text)
		}
	}
}

func TestAStatusWithoutAttachmentsIsAFinding(t *testing.T) {
	unregistered := func(s api.Status) bool {
		return slices.ContainsFunc(Findings(s), func(f Finding) bool { return f.Kind == Unregistered })
	}
	var s api.Status
	if !unregistered(s) {
		t.Error("nothing is registered, and no finding reports it")
	}
	if s.Attachments = append(s.Attachments, api.AttachmentView{}); unregistered(s) {
		t.Error("an attachment is registered, and a finding says that nothing is")
	}
}
