// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// refusal is why an entry is not adopted. The zero refusal refuses nothing.
type refusal struct {
	reason api.AdoptionReason
	why    string // in words, with the names from the entry
}

func refuse(reason api.AdoptionReason, format string, args ...any) refusal {
	return refusal{reason, fmt.Sprintf(format, args...)}
}

// era is the time of this boot, by the current setting of the wall clock.
type era struct{ boot, now time.Time }

// maxFuture is how far in the future an entry may have been written: the clock may be adjusted.
const maxFuture = 2 * time.Second

// judgeAge refuses an entry of another boot. The wall clock may have been set since the entry was written, so an entry is
// also refused if its time is in the future: such a time proves nothing. An entry that passes is still only a claim.
func judgeAge(written time.Time, e era) refusal {
	switch {
	case written.Before(e.boot):
		return refuse(api.AdoptStale, "it was written before this boot (%s)", written.Local().Format(time.RFC3339))
	case written.After(e.now.Add(maxFuture)):
		return refuse(api.AdoptStale, "it was written in the future (%s), by a clock that has been set back", written.Local().Format(time.RFC3339))
	}
	return refusal{}
}

// judgeNetwork refuses an entry whose network has no entry of ours today.
func judgeNetwork(c claim, all networks) (network, refusal) {
	n, found := all[c.network]
	switch {
	case !found:
		return n, refuse(api.AdoptNoNetwork, "the node has no configuration of network %s", c.network)
	case !n.chained:
		return n, refuse(api.AdoptNotChained, "%s, the configuration of network %s, does not list halfclose", n.file, c.network)
	}
	return n, refusal{}
}

// place is a network namespace that may be the claim's.
type place struct {
	path  string
	id    netns.Identity // with its cookie if the kernel has cookies
	host  bool           // it is the host's own
	link  link           // the interface of the claim's name
	found bool           // there is one
	err   error          // why it cannot be opened or looked at
}

// proves reports whether the interface has an address of the claim or its MAC.
func (p place) proves(c claim) bool {
	if p.err != nil || p.host || !p.found {
		return false
	}
	if isProof(c.mac) && p.link.mac.String() == c.mac.String() {
		return true
	}
	return slices.ContainsFunc(p.link.addresses, func(a netip.Addr) bool { return slices.Contains(c.addresses, a) })
}

// selectNamed returns the place of a claim with a path, or why the place there is not the claim's.
func selectNamed(c claim, p place) (place, refusal) {
	switch {
	case p.err != nil && (netns.IsGone(p.err) || isNoNamespace(p.err)):
		return p, refuse(api.AdoptNoNetns, "no network namespace is at %s", c.path)
	case p.err != nil:
		return p, refuse(api.AdoptNoNetns, "%v", p.err)
	case p.host:
		return p, refuse(api.AdoptHostNetns, "%s leads to the host's network namespace", c.path)
	case !p.found:
		return p, refuse(api.AdoptUnproven, "the network namespace at %s has no interface %s: it is another one now", c.path, c.IfName)
	case !p.proves(c):
		return p, refuse(api.AdoptUnproven, "%s in the network namespace at %s has neither an address nor the MAC of the result: it is another container's now",
			c.IfName, c.path)
	}
	return p, refusal{}
}

// selectFound returns the only place of all that is the claim's. Two names of one network namespace are one place.
func selectFound(c claim, all []place) (found place, r refusal) {
	for _, p := range all {
		switch {
		case !p.proves(c) || p.id.Same(found.id):
		case found.path != "":
			return place{}, refuse(api.AdoptAmbiguous, "it has no path, and %s and %s both have its addresses", found.path, p.path)
		default:
			found = p
		}
	}
	if found.path == "" {
		return place{}, refuse(api.AdoptNoNetns, "it has no path, and no network namespace has its addresses")
	}
	return found, refusal{}
}

// contender is an entry that proved an interface of a netns.
type contender struct {
	attachment state.Attachment
	written    time.Time
	netns      netns.Identity
}

// losesTo reports whether another entry for the same interface makes this one void: an interface belongs to one attachment,
// and the later entry belongs to the existing one. Of two entries with the same time neither counts.
func (c contender) losesTo(other contender) bool {
	return c.attachment.IfName == other.attachment.IfName && c.attachment.ContainerID != other.attachment.ContainerID &&
		c.netns.Same(other.netns) && !c.written.After(other.written)
}
