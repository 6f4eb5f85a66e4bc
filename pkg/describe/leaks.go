// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import "github.com/halfclose/halfclose/pkg/api"

// LeakFindings lists the processes that hold descriptors of ended sockets, or have few more files to open.
func LeakFindings(list *api.LeakList) []Finding {
	return descriptorFindings(&api.DescriptorsView{Holders: list.Holders, NearLimit: list.NearLimit})
}
