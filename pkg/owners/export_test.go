// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

// SetInit has Conditions take the process for process 1.
func (p *Proc) SetInit(pid int) { p.init = pid }
