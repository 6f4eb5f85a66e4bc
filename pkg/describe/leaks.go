// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
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
