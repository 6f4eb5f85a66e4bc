// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

// Detach keeps the kernel from calling the program that follows changes of state, until attach is called.
func Detach(p *Programs) (attach func() error, err error) {
	attach = func() (err error) {
		p.change, err = attachTracepoint(p.objects.StateChange)
		return err
	}
	return attach, p.change.Close()
}
