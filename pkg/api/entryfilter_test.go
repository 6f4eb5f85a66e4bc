// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"net/netip"
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
)

func TestAConnectionIsSelectedByOneEndOrTwoInAnyOrder(t *testing.T) {
	at := netip.MustParseAddrPort
	one := api.Entry{Local: at("10.0.0.2:40000"), Peer: at("[::ffff:10.0.0.7]:443")}
	sum := api.Entry{Local: at("10.0.0.2:0"), Peer: at("10.0.0.7:443"), Count: 30}
	bare := api.Entry{Count: 30}
	for text, want := range map[string][3]bool{
		"10.0.0.7":                    {true, true, false},
		"10.0.0.7:443":                {true, true, false},
		"::ffff:10.0.0.7":             {true, true, false},
		"10.0.0.7:444":                {false, false, false},
		"10.0.0.2:40000":              {true, true, false},
		"10.0.0.2:40001":              {false, true, false}, // it may be among the 30
		"10.0.0.2:40000,10.0.0.7:443": {true, true, false},
		"10.0.0.7:443,10.0.0.2":       {true, true, false},
		"10.0.0.7:443,10.0.0.3":       {false, false, false},
		"10.0.0.7:443,10.0.0.7":       {false, false, false},
		"fd00::7":                     {false, false, false},
		"[fd00::7]:443":               {false, false, false},
		"[10.0.0.7]":                  {true, true, false},
		"10.0.0.2%eth0,10.0.0.7":      {},
		"10.0.0.7,10.0.0.2,10.0.0.3":  {},
		"":                            {},
		"web":                         {},
		"10.0.0.7:https":              {},
		"10.0.0.7:443,":               {},
	} {
		d, err := api.ParseEnds(text)
		if want == ([3]bool{}) && text != "fd00::7" {
			if err == nil && d.Match(&one) {
				t.Errorf("%q is parsed as %v", text, d)
			}
			continue
		}
		if got := [3]bool{d.Match(&one), d.Match(&sum), d.Match(&bare)}; err != nil || got != want {
			t.Errorf("%q selects %v, want %v (%v)", text, got, want, err)
		}
	}
	if !(api.Ends{}).Match(&bare) || !(api.Ends{}).Match(&one) {
		t.Error("no ends select not everything")
	}
}

func FuzzEndsArePrintedAsTheyAreParsed(f *testing.F) {
	for _, text := range []string{"10.0.0.7", "10.0.0.7:443,[fd00::7]:80", "::1", "[::1]:0", "fe80::1%eth0", "1.2.3.4,::ffff:1.2.3.4"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := api.ParseEnds(text)
		if err != nil {
			return
		}
		if again, err := api.ParseEnds(d.String()); err != nil || again != d {
			t.Errorf("%q is parsed as %v, and that as %v, %v", text, d, again, err)
		}
	})
}
