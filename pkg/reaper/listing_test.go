// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestSocketsAreListedByPodAndAge lists the same sockets from memory and from the kernel, those without an owner last.
func TestSocketsAreListedByPodAndAge(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		first, second := newNS(t), newNS(t)
		listener := first.Listen(t, nstest.IPv4)
		var want, owned []string
		leak := func(pod string, ns *nstest.NS) {
			p := shut(t, ns.Connect(t, nstest.IPv4))
			local, _ := addrs(p.Server)
			want = append(want, pod+" "+local)
			time.Sleep(2 * tick) // so that their ages differ
		}
		for range 3 {
			leak("alpha", first)
		}
		owned = want
		waiting := first.Dial(t, nstest.IPv4, listener.Addr().(*net.TCPAddr).Port) // is not accepted
		if err := waiting.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		want = append(want, "alpha "+waiting.RemoteAddr().String())
		for range 2 {
			leak("beta", second)
		}
		n := newNode(t, finder, findsOwners)
		for pod, ns := range map[string]*nstest.NS{"beta": second, "alpha": first} {
			r := n.record(ns, timing(inetdiag.CloseWait, time.Hour))
			r.Pod = state.Pod{Namespace: "default", Name: pod}
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}
		nstest.Eventually(t, patience, "all are known", func() bool {
			return len(n.sockets(api.SocketQuery{State: inetdiag.CloseWait})) == len(want)
		})
		for name, q := range map[string]api.SocketQuery{
			"known": {State: inetdiag.CloseWait}, "looked at": {State: inetdiag.CloseWait, All: true}, "with owners": {State: inetdiag.CloseWait, Owners: true},
		} {
			var got []string
			for _, v := range n.sockets(q) {
				got = append(got, v.Pod.Name+" "+v.Local)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", name, diff)
			}
		}

		ofBeta := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !strings.HasPrefix(s, "beta ") })
		for _, pod := range []string{"beta", "default/beta"} {
			var got []string
			for _, v := range n.sockets(api.SocketQuery{State: inetdiag.CloseWait, PodQuery: api.PodQuery{Pod: pod}}) {
				got = append(got, v.Pod.Name+" "+v.Local)
			}
			if diff := cmp.Diff(ofBeta, got); diff != "" {
				t.Errorf("of pod %s (-want +got)\n%s", pod, diff)
			}
		}

		// An error of the function ends the listing.
		enough := errors.New("enough")
		var got []string
		_, err := n.EachSocket(context.Background(), api.SocketQuery{State: inetdiag.CloseWait}, func(v *api.SocketView) error {
			got = append(got, v.Pod.Name+" "+v.Local)
			if len(got) == len(owned) {
				return enough
			}
			return nil
		})
		if diff := cmp.Diff(owned, got); diff != "" || !errors.Is(err, enough) {
			t.Errorf("ended with %v (-want +got)\n%s", err, diff)
		}
	})
}
