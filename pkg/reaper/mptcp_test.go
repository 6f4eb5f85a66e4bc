// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// connectMPTCP calls nstest's function, and skips the test if the kernel lacks MPTCP.
func connectMPTCP(t *testing.T, ns *nstest.NS, client, server bool) nstest.Pair {
	t.Helper()
	p := ns.ConnectMPTCP(t, client, server)
	if on, err := p.Client.MultipathTCP(); client && server && (err != nil || !on) {
		t.Skipf("the kernel has no MPTCP (CONFIG_MPTCP, net.mptcp.enabled): %v", err)
	}
	return p
}

func TestMPTCPIsSpared(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		// The connection is half-closed, but its only subflow is not: MPTCP has its own FIN.
		t.Run("a subflow of a half-closed connection", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			p := shut(t, connectMPTCP(t, ns, true, true))
			n.register(ns, timing(inetdiag.CloseWait, soon))
			n.outlive(ns, inetdiag.CloseWait)
			n.stillSpared(p.Server, live, policy.NotHalfClosed)
			answers(t, p)
		})
		// The client's path manager closes the subflow. The server's connection is half-closed, so the server keeps its
		// end in CLOSE_WAIT in case the client opens another subflow.
		t.Run("a subflow in CLOSE_WAIT", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			userspacePathManager(t, ns)
			p := shut(t, connectMPTCP(t, ns, true, true))
			check(t, "the server's recv", received(p.Server), io.EOF) // its connection is half-closed
			closeSubflow(t, ns, p.Client)
			n.register(ns, timing(inetdiag.CloseWait, soon))
			n.outlive(ns, inetdiag.CloseWait)
			v := n.awaitVerdict(p.Server, policy.MPTCP)
			if v.State != inetdiag.CloseWait {
				t.Errorf("the subflow is in %v", v.State)
			}
			n.untouched(p.Server)
		})
		t.Run("an MPTCP client that fell back to TCP", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			p := shut(t, connectMPTCP(t, ns, true, false))
			n.register(ns, timing(inetdiag.FinWait2, soon))
			n.outlive(ns, inetdiag.FinWait2)
			n.stillSpared(p.Client, api.SocketQuery{}, policy.MPTCP)
			answers(t, p)
		})
	})
}

func TestPlainClientOfAnMPTCPListenerIsDestroyed(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for _, st := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(st.String(), func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder)
				n.register(ns, timing(st, soon))
				p := shut(t, connectMPTCP(t, ns, false, true))
				if e := n.awaitDestroyed(end(p, st)); e.State != st {
					t.Errorf("destroyed in %v", e.State)
				}
			})
		}
	})
}

// userspacePathManager selects the path manager that closeSubflow needs, for new connections.
func userspacePathManager(t *testing.T, ns *nstest.NS) {
	t.Helper()
	ns.Do(t, func() {
		if err := os.WriteFile("/proc/sys/net/mptcp/pm_type", []byte("1"), 0); err != nil {
			t.Errorf("choose the userspace path manager: %v", err)
		}
	})
}

// The numbers of include/uapi/linux/mptcp.h and mptcp_pm.h that closeSubflow needs.
const (
	mptcpInfo          = 1  // MPTCP_INFO, a struct mptcp_info
	mptcpInfoToken     = 3  // mptcpi_token is its fourth word
	pmSubflowDestroy   = 11 // MPTCP_PM_CMD_SUBFLOW_DESTROY
	pmAttrAddr         = 1
	pmAttrToken        = 4
	pmAttrAddrRemote   = 6
	pmAddrAttrFamily   = 1
	pmAddrAttrID       = 2
	pmAddrAttrAddr4    = 3
	pmAddrAttrPort     = 5
	genericFamilyMPTCP = "mptcp_pm"
)

// closeSubflow makes the path manager close the only subflow of conn, and changes nothing else.
func closeSubflow(t *testing.T, ns *nstest.NS, conn *net.TCPConn) {
	t.Helper()
	var token uint32
	rawFD(t, conn, func(fd int) error {
		words, err := unix.GetsockoptICMPv6Filter(fd, unix.SOL_MPTCP, mptcpInfo) // the first eight words of the option
		if err == nil {
			token = words.Data[mptcpInfoToken]
		}
		return err
	})
	ns.Do(t, func() {
		family, err := netlink.GenlFamilyGet(genericFamilyMPTCP)
		if err != nil {
			t.Errorf("find the generic netlink family %s: %v", genericFamilyMPTCP, err)
			return
		}
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: pmSubflowDestroy, Version: 1})
		req.AddData(nl.NewRtAttr(pmAttrToken, nl.Uint32Attr(token)))
		req.AddData(pmAddr(pmAttrAddr, conn.LocalAddr()))
		req.AddData(pmAddr(pmAttrAddrRemote, conn.RemoteAddr()))
		if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
			t.Errorf("close the subflow: %v", err)
		}
	})
}

func pmAddr(attr int, a net.Addr) *nl.RtAttr {
	ap := a.(*net.TCPAddr).AddrPort()
	addr := ap.Addr().Unmap().As4()
	nest := nl.NewRtAttr(attr|unix.NLA_F_NESTED, nil)
	nest.AddRtAttr(pmAddrAttrFamily, nl.Uint16Attr(unix.AF_INET))
	nest.AddRtAttr(pmAddrAttrID, nl.Uint8Attr(0))
	nest.AddRtAttr(pmAddrAttrAddr4, addr[:])
	nest.AddRtAttr(pmAddrAttrPort, nl.Uint16Attr(ap.Port()))
	return nest
}
