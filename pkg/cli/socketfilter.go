// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
)

// filterFlags adds the flags of a SocketFilter to a command.
func (e *env) filterFlags(cmd *cobra.Command, f *api.SocketFilter) {
	flags := cmd.Flags()
	flags.Var(flagvalue.Peer{To: &f.Peer}, "peer", "only sockets with this `PEER`: 10.0.0.7, 10.0.0.0/8, 10.0.0.7:443 or [fd00::7]:443")
	flags.Var(flagvalue.Port{To: &f.Port}, "port", "only sockets with this local or peer `PORT`")
	flags.Var(flagvalue.Port{To: &f.LocalPort}, "local-port", "only sockets with this local `PORT`")
	flags.Var(flagvalue.Port{To: &f.PeerPort}, "peer-port", "only sockets with this `PORT` of the peer")
	flags.Var((*flagvalue.Duration)(&f.OlderThan), "older-than", "only sockets that have been half-closed for this `DURATION`, such as 10m")
	flags.Var(flagvalue.Owner{To: &f.Owner}, "owner", "only sockets that this `OWNER` holds: a process id, or a command such as java")
	completeOneOf(cmd, "older-than", "1m", "10m", "1h", "1d")
	e.completeFromLeaks(cmd, "peer", leakPeers)
	e.completeFromLeaks(cmd, "owner", leakOwners)
	e.completeFromLeaks(cmd, "port", func(g api.LeakGroup) []string { return append(leakPort(g.Local), leakPort(g.Peer)...) })
	e.completeFromLeaks(cmd, "local-port", func(g api.LeakGroup) []string { return leakPort(g.Local) })
	e.completeFromLeaks(cmd, "peer-port", func(g api.LeakGroup) []string { return leakPort(g.Peer) })
}

// completeFromLeaks completes a flag with texts of the half-closed sockets that exist.
func (e *env) completeFromLeaks(cmd *cobra.Command, flag string, of func(api.LeakGroup) []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.leakTexts(cmd.Context(), of), cobra.ShellCompDirectiveNoFileComp
	}) // the flag exists
}

// leakTexts returns texts of the groups of half-closed sockets.
func (e *env) leakTexts(ctx context.Context, of func(api.LeakGroup) []string) []string {
	return e.completions(ctx, isForeignAddress, func(ctx context.Context, client *admin.Client) (texts []string, err error) {
		list, err := client.Leaks(ctx, api.LeakQuery{All: true, Limit: maxCompletions})
		for _, g := range list.Groups {
			texts = append(texts, of(g)...)
		}
		return texts, err
	})
}

// maxCompletions is the number of groups of sockets that are completed.
const maxCompletions = 200

// isForeignAddress reports whether r can be neither in a name nor in an address.
func isForeignAddress(r rune) bool { return r != ':' && isForeign(r) }

// leakPeers returns the address of a group's peer.
func leakPeers(g api.LeakGroup) []string { return addressTexts(g.Peer) }

// addressTexts returns an address without its port, and with it unless it needs brackets, which a shell might interpret.
func addressTexts(text string) []string {
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return nil
	case a.Addr().Is6():
		return []string{a.Addr().String()}
	}
	return []string{a.Addr().String(), a.String()}
}

func leakPort(text string) []string {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil
	}
	return []string{strconv.Itoa(int(a.Port()))}
}

func leakOwners(g api.LeakGroup) (names []string) {
	for _, p := range g.Owners {
		names = append(names, p.Command, strconv.Itoa(p.PID))
	}
	return names
}
