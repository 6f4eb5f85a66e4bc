// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"

	"github.com/halfclose/halfclose/pkg/adopt"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/netns"
)

// named is the network namespaces with a name in the file system.
type named struct {
	err error // why they are unknown
	all []adopt.NamedNetns
}

func inspectNamed(root string) (n named) {
	below, err := netns.NewRoot(root)
	if err != nil {
		n.err = err
		return n
	}
	defer below.Close()
	n.all, n.err = adopt.FindNamed(root, below)
	return n
}

// reportNamed reports named namespaces that are not registered.
func reportNamed(n named, r records) []Finding {
	if err := cmp.Or(n.err, r.err); err != nil {
		return []Finding{{
			Check: "unregistered", Level: Warn, What: "namespaces and records cannot be compared: " + err.Error(), Do: "fix records first; run it as root",
		}}
	}
	var registered []netns.Identity
	for _, rec := range r.list {
		if !rec.Inert(r.boot) {
			registered = append(registered, rec.Netns.Identity)
		}
	}
	unregistered := adopt.Unregistered(n.all, registered)
	if len(n.all) == 0 {
		return []Finding{{Check: "unregistered", What: "there is no named network namespace"}}
	}
	if len(unregistered) == 0 {
		return []Finding{{Check: "unregistered", What: "every named network namespace is registered (" + describe.Plural(len(n.all), "namespace", "namespaces") + ")"}}
	}
	return []Finding{{
		Check: "unregistered", Level: Info,
		What: describe.Plural(len(unregistered), "named network namespace is", "named network namespaces are") + " not registered (created without CNI, or before halfclose was chained): " +
			firstNames(unregistered, func(n adopt.NamedNetns) string { return n.Path }),
		Do: `nothing unless halfclose should manage them; then see "halfclose adopt --dry-run", or run halfclose register ` + unregistered[0].Path,
	}}
}
