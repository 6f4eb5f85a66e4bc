// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/state"
)

// claim is what an entry of the result cache says about its attachment. None of it is proven.
type claim struct {
	state.Attachment
	network   string
	pod       state.Pod
	path      string // of the netns; "" in a cache of libcni before 1.2.0 without a sandbox
	addresses []netip.Addr
	mac       net.HardwareAddr
}

// Bounds on the parts of a claim, which stays in memory.
const (
	maxAddresses = 64
	maxPath      = 4096
	maxNetwork   = 253
)

// parseClaim returns the claim of an entry. Its error is the reason that no attachment can have the entry.
func parseClaim(a cniconf.CachedAttachment) (claim, error) {
	c := claim{Attachment: state.Attachment{ContainerID: a.ContainerID, IfName: a.IfName}, network: a.NetworkName, path: a.Netns}
	if err := c.CheckName(); err != nil {
		return c, err
	}
	if err := utils.ValidateNetworkName(c.network); err != nil || len(c.network) > maxNetwork {
		return c, errors.New("invalid network name")
	}
	for _, arg := range a.Args {
		c.pod.SetArg(arg[0], arg[1])
	}
	if len(a.Result) == 0 || bytes.Equal(a.Result, []byte("null")) {
		return c, errors.New("it has no result")
	}
	parsed, err := create.CreateFromBytes(a.Result)
	if err != nil {
		return c, fmt.Errorf("read its result: %w", err)
	}
	result, err := types100.NewResultFromResult(parsed)
	if err != nil {
		return c, fmt.Errorf("read its result: %w", err)
	}
	c.read(result)
	if c.path != "" && (!filepath.IsAbs(c.path) || len(c.path) > maxPath) {
		return c, errors.New("its network namespace is not an absolute path")
	}
	return c, nil
}

// read takes the addresses, the MAC and, if the entry has no path, the sandbox of the attachment's interface.
func (c *claim) read(result *types100.Result) {
	var sandboxed, bare []*types100.Interface
	for _, i := range result.Interfaces {
		switch {
		case i == nil || i.Name != c.IfName:
		case i.Sandbox != "":
			sandboxed = append(sandboxed, i)
		default:
			bare = append(bare, i)
		}
	}
	own := sandboxed
	if len(own) == 0 {
		own = bare // a main plugin may leave out the sandbox
	}
	if len(own) == 1 {
		if mac, err := net.ParseMAC(own[0].Mac); err == nil && isProof(mac) {
			c.mac = mac
		}
		if c.path == "" {
			c.path = own[0].Sandbox
		}
	}
	for _, ip := range result.IPs {
		if ip == nil || len(c.addresses) == maxAddresses || !isOf(ip, result.Interfaces, c.IfName) {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok && isUnicast(addr.Unmap()) {
			c.addresses = append(c.addresses, addr.Unmap())
		}
	}
}

// isOf reports whether an address belongs to the interface of that name, or names no interface.
func isOf(ip *types100.IPConfig, interfaces []*types100.Interface, name string) bool {
	if ip.Interface == nil {
		return true
	}
	n := *ip.Interface
	return n >= 0 && n < len(interfaces) && interfaces[n] != nil && interfaces[n].Name == name
}

// isUnicast reports whether an address can prove a netns: loopback and link-local addresses are in any.
func isUnicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// isProof reports whether a MAC can prove a netns: loopback and tunnels have one of zeros.
func isProof(mac net.HardwareAddr) bool {
	return len(mac) > 0 && !bytes.Equal(mac, make([]byte, len(mac)))
}
