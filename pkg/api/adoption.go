// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

// AdoptionView is the state of containers that were running before halfclose was on the node, or that CNI does not create.
type AdoptionView struct {
	Enabled bool `json:"enabled"` // the reaper's --adopt
	// Adopted is the number of this node's records that adoption wrote.
	Adopted int `json:"adopted"`
	// Adoptable is the number of containers that would be adopted if Enabled were set.
	Adoptable int `json:"adoptable"`
	// Skipped has the number of entries of libcni's result cache that are not adopted, by AdoptionReason.
	Skipped map[AdoptionReason]int `json:"skipped,omitempty"`
	// NotChained are networks with containers whose configuration does not list halfclose; the first few.
	NotChained []string `json:"networksNotChained,omitempty"`
	// Unregistered is the number of named network namespaces that no record registers, without the host's own.
	// UnregisteredPaths are the first few.
	Unregistered      int      `json:"unregisteredNetns"`
	UnregisteredPaths []string `json:"unregisteredPaths,omitempty"`
	// Problem is why some of this is unknown, "" if all is known.
	Problem string `json:"problem,omitempty"`
}

// AdoptionReason is why an entry of libcni's result cache is not adopted.
type AdoptionReason string

// The reasons.
const (
	AdoptRegistered AdoptionReason = "registered"  // it has a record
	AdoptUnreadable AdoptionReason = "unreadable"  // empty, cut, too large, or not of kind cniCacheV1
	AdoptStale      AdoptionReason = "stale"       // written before this boot, or in the future
	AdoptNoNetwork  AdoptionReason = "no-network"  // the node has no network configuration of its name
	AdoptNotChained AdoptionReason = "not-chained" // the network's configuration does not list halfclose
	AdoptNoNetns    AdoptionReason = "no-netns"    // its network namespace is unknown or gone
	AdoptHostNetns  AdoptionReason = "host-netns"  // its path leads to the host's network namespace
	AdoptUnproven   AdoptionReason = "unproven"    // the interface has neither an address nor the MAC of the result
	AdoptAmbiguous  AdoptionReason = "ambiguous"   // several network namespaces or several entries match
	AdoptInvalid    AdoptionReason = "invalid"     // no record can have its container ID or interface
	AdoptFailed     AdoptionReason = "failed"      // the record could not be written
)

// AdoptionReasons returns all reasons.
func AdoptionReasons() []AdoptionReason {
	return []AdoptionReason{
		AdoptRegistered, AdoptUnreadable, AdoptStale, AdoptNoNetwork, AdoptNotChained, AdoptNoNetns, AdoptHostNetns, AdoptUnproven,
		AdoptAmbiguous, AdoptInvalid, AdoptFailed,
	}
}
