package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"github.com/halfclose/halfclose/pkg/bpf"
)
func rss() string { b, _ := os.ReadFile("/proc/self/status"); o := ""; for _, l := range strings.Split(string(b), "\n") { if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "RssAnon")|| strings.HasPrefix(l, "RssFile")|| strings.HasPrefix(l, "VmHWM") { o += l + " " } }; return o }
func main() {
	if len(os.Args) < 2 { return }
	fmt.Println(rss())
	p, err := bpf.Load(bpf.Options{})
	fmt.Println(err, rss())
	runtime.GC(); runtime.GC()
	fmt.Println(rss())
	h, _ := p.Health(); fmt.Printf("%+v\n", h)
	var m runtime.MemStats; runtime.ReadMemStats(&m); fmt.Println("heap inuse", m.HeapInuse, "total alloc", m.TotalAlloc, "sys", m.Sys)
}
