// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// LeakFindings lists the processes that hold descriptors of ended sockets, or are near their limit on open files.
func LeakFindings(list *api.LeakList) []Finding {
	return descriptorFindings(&api.DescriptorsView{Holders: list.Holders, NearLimit: list.NearLimit})
}

// OwnerSees returns what the system calls of a socket's owner return after the socket was destroyed.
func OwnerSees(st inetdiag.State) string {
	if st == inetdiag.FinWait2 {
		return "recv: unread bytes, then ECONNABORTED once, then EOF"
	}
	return "recv: unread bytes, then EOF; send: ECONNABORTED"
}

// Growth returns a growth, such as "+12/m".
func Growth(perMinute *float64) string {
	switch {
	case perMinute == nil:
		return "-"
	case *perMinute == 0:
		return "0"
	case *perMinute < 10:
		return "+" + strconv.FormatFloat(*perMinute, 'f', 1, 64) + "/m"
	}
	return "+" + strconv.FormatFloat(*perMinute, 'f', 0, 64) + "/m"
}

// Counts lists counts by verdict, the largest first.
func Counts(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	words := make([]string, 0, len(names))
	for _, name := range names {
		words = append(words, strconv.Itoa(counts[name])+" "+name)
	}
	return strings.Join(words, ", ")
}
