-- channel: on which wake-ups travel
select :"schema".channel() as channel
