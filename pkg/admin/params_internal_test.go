// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestTheServerDecodesWhatTheClientEncodes(t *testing.T) {
	for path, want := range map[string]api.SocketQuery{
		"/v1/sockets":                                          {},
		"/v1/sockets?all=true&owners=true":                     {All: true, Owners: true},
		"/v1/sockets?state=CLOSE_WAIT":                         {State: inetdiag.CloseWait},
		"/v1/sockets?pod=shop%2Fweb%26a%3D":                    {PodQuery: api.PodQuery{Pod: "shop/web&a="}},
		"/v1/sockets?namespace=shop":                           {PodQuery: api.PodQuery{Namespace: "shop"}},
		"/v1/sockets?netns=%2Frun%2Fnetns%2Fa&verdict=unknown": {Netns: "/run/netns/a", Verdict: new(policy.Unknown)},
	} {
		if got := socketParams(&want).encode("/v1/sockets"); got != path {
			t.Errorf("%+v is encoded as %s, not %s", want, got, path)
		}
		_, query, _ := strings.Cut(path, "?")
		got, err := decodeSocketQuery(query)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
	for path, want := range map[string]api.HistoryQuery{
		"/v1/history":                           {},
		"/v1/history?after=7&history=a&wait=1m": {History: "a", After: 7, Wait: time.Minute},
		"/v1/history?address=10.0.0.7%3A443%2Cfd00%3A%3A7&namespace=shop&outcome=destroyed&pod=web&since=2026-11-29T09%3A30%3A00.5Z&tail=50&until=2026-11-30T00%3A00%3A00Z": {
			EntryFilter: api.EntryFilter{
				PodQuery: api.PodQuery{Namespace: "shop", Pod: "web"}, Outcome: api.Destroyed,
				Since: time.Date(2026, 11, 29, 9, 30, 0, 5e8, time.UTC), Until: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
				Ends: api.Ends{A: api.End{AddrPort: netip.MustParseAddrPort("10.0.0.7:443")}, B: api.End{AddrPort: netip.MustParseAddrPort("[fd00::7]:0")}},
			},
			Tail: 50,
		},
	} {
		path = strings.Replace(path, "1m", "1m0s", 1)
		if got := historyParams(&want).encode("/v1/history"); got != path {
			t.Errorf("%+v is encoded as %s, not %s", want, got, path)
		}
		_, query, _ := strings.Cut(path, "?")
		got, err := decodeHistoryQuery(query)
		want.Wait = min(want.Wait, maxWait)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(api.End{})); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", path, err, diff)
		}
	}
}

func FuzzAQueryIsDecodedOrRefused(f *testing.F) {
	for _, query := range []string{
		"", "all=true", "all=maybe", "state=CLOSE_WAIT&verdict=unknown", "pod=a&pod=b", "%zz", "a;b", "after=1&history=x&wait=1s", "wait=-1s", "state=",
		"tail=5&since=2026-11-29T09:30:00Z&address=10.0.0.7:443,::1",
		"peer=10.0.0.0/8&port=443&local-port=1&peer-port=65535&older-than=1h&owner=java&address=[fd00::1]:443", "min=3&limit=2&all=true&verdict=destroy",
		"port=0", "port=65536", "limit=-1", "older-than=-1s", "peer=10.0.0.7:0",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		check := func(err error) {
			if e, ok := errors.AsType[statusError](err); err != nil && (!ok || e.code != http.StatusBadRequest) {
				t.Errorf("%q: %v", query, err)
			}
		}
		sockets, err := decodeSocketQuery(query)
		check(err)
		if err == nil {
			_, encoded, _ := strings.Cut(socketParams(&sockets).encode(""), "?")
			if again, err := decodeSocketQuery(encoded); err != nil || cmp.Diff(sockets, again) != "" {
				t.Errorf("%q is decoded as %+v, encoded as %q, decoded as %+v, %v", query, sockets, encoded, again, err)
			}
		}
		leaks, err := decodeLeakQuery(query)
		check(err)
		if err == nil {
			_, encoded, _ := strings.Cut(leakParams(&leaks).encode(""), "?")
			if again, err := decodeLeakQuery(encoded); err != nil || cmp.Diff(leaks, again) != "" {
				t.Errorf("%q is decoded as %+v, encoded as %q, decoded as %+v, %v", query, leaks, encoded, again, err)
			}
		}
		page, err := decodeHistoryQuery(query)
		check(err)
		if err == nil && (page.Wait < 0 || page.Wait > maxWait || page.Tail < 0 || page.Tail > api.MaxTail) {
			t.Errorf("%q waits for %v, for %d entries", query, page.Wait, page.Tail)
		}
		if err == nil {
			_, encoded, _ := strings.Cut(historyParams(&page).encode(""), "?")
			again, err := decodeHistoryQuery(encoded)
			if err != nil || cmp.Diff(page, again, cmpopts.EquateComparable(api.End{})) != "" {
				t.Errorf("%q is decoded as %+v, encoded as %q, decoded as %+v, %v", query, page, encoded, again, err)
			}
		}
	})
}
