module scs.observer/lab/pause

go 1.26.0
