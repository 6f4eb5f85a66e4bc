// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import "time"

// Pause calls fn between system calls on a duplicate, with the step and the duplicate. It is called before Run.
func (p *Prober) Pause(fn func(step string, fd int)) { p.env.pause = fn }

// SetClass makes the prober treat sockets as having net_cls classes, and sets the class of this process's sockets.
func (p *Prober) SetClass(class uint32) { p.env.class, p.env.hasClass = class, true }

// SetPatience sets the time for which a thread may hold a duplicate. It is called before Run.
func (p *Prober) SetPatience(d time.Duration) { p.env.patience = d }
