// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package apitest

import (
	"strconv"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// CrowdedStatus returns the status of a node with many attachments, of which three are not quiet.
func CrowdedStatus() api.Status {
	s := QuietStatus()
	for i := range 30 {
		a := api.AttachmentView{
			Attachment: state.Attachment{ContainerID: "c" + strconv.Itoa(i), IfName: "eth0"}, Network: "pods", Mode: policy.Observe,
			Pod: state.Pod{Namespace: "shop", Name: "web-" + strconv.Itoa(i)}, Policy: api.PolicyView(policy.Default()),
			Candidates: map[string]int{"CLOSE_WAIT": 0, "FIN_WAIT2": 0}, CappedBy: []string{"the switch, set to observe by alice"},
		}
		switch i {
		case 3:
			a.Candidates["FIN_WAIT2"], a.Oldest = 5, api.Seconds(7e9)
		case 17:
			a.Candidates["CLOSE_WAIT"], a.Oldest = 26123, api.Seconds(3e9)
		case 20:
			a.WouldDestroy = 1
		}
		s.Attachments = append(s.Attachments, a)
	}
	return s
}

// ConservativeAttachments returns attachments, of which six have a policy that is more conservative than mode destroy.
func ConservativeAttachments() []api.AttachmentView {
	list := CrowdedStatus().Attachments[:8]
	for i := range list {
		list[i].Policy.Mode = policy.Observe
	}
	list[1].Policy.Mode, list[2].Inert, list[3].Policy.Mode = policy.Off, "gone", policy.Destroy
	return list
}
