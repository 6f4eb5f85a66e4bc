// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestMPTCPSubflowsHaveAULP(t *testing.T) {
	for _, tt := range []struct {
		name           string
		client, server bool
		want           map[string]string
	}{
		{"MPTCP at both ends", true, true, map[string]string{"client": "mptcp", "server": "mptcp"}},
		{"a plain client of an MPTCP listener", false, true, map[string]string{"client": "", "server": ""}},
		{"an MPTCP client that fell back", true, false, map[string]string{"client": "mptcp", "server": ""}},
		{"plain TCP", false, false, map[string]string{"client": "", "server": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := nstest.New(t)
			p := ns.ConnectMPTCP(t, tt.client, tt.server)
			if on, err := p.Client.MultipathTCP(); tt.client && tt.server && (err != nil || !on) {
				t.Skipf("kernel has no MPTCP (CONFIG_MPTCP, net.mptcp.enabled): %v", err)
			}
			c := open(t, ns)
			port := p.Server.LocalAddr().(*net.TCPAddr).Port
			for _, f := range []inetdiag.Filter{
				{States: 1 << inetdiag.Established, Info: true},
				{States: 1 << inetdiag.Established, Info: true, NoLegacy: true},
			} {
				got := make(map[string]string)
				for _, s := range dump(t, c, f) {
					end := "client"
					if int(s.ID.Local().Port()) == port {
						end = "server"
					}
					got[end] = s.ULP
					if found, err := c.Lookup(s.ID); err != nil || found.ULP != s.ULP {
						t.Errorf("lookup has ULP %q, %v; the dump has %q", found.ULP, err, s.ULP)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("ULP (-want +got):\n%s", diff)
				}
			}
			for _, s := range dump(t, c, inetdiag.Filter{States: inetdiag.AllStates}) {
				if s.ULP != "" {
					t.Errorf("ULP %q without tcp_info", s.ULP)
				}
			}
		})
	}
}
